"""ONNX files as data: one is opened by its hash, with its numbers inside and standard operators alone.

A graph of standard operators is data and not a program, so nothing here can run what a file brings along; whatever is
not such a graph is refused before ONNX Runtime sees it.
"""

from collections.abc import Collection, Iterator
from hashlib import sha256 as _sha256
from typing import Any

from convergence.errors import ModelError

STANDARD = frozenset({"", "ai.onnx"})
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def digest(blob: bytes) -> str:
    """The SHA-256 of a file, in hex: what `checked` is asked for."""
    return _sha256(blob).hexdigest()


def checked(blob: bytes, *, sha256: str, domains: Collection[str] = STANDARD) -> Any:
    """The `onnx.ModelProto` of a file that is what its record says it is and depends on nothing else.

    Args:
        blob: the ONNX file.
        sha256: its hash as the record that names it has it, in hex.
        domains: the operator domains that it may use.

    Raises:
        ModelError: another hash, no whole ONNX graph, numbers kept in other files, or operators of another domain.
    """
    found = digest(blob)
    if found != sha256:
        raise ModelError(
            f"the model is not the one asked for: expected sha256 {sha256}, found {found} ({len(blob)} bytes); "
            "nothing was loaded: copy the model again from its table"
        )
    model = _parsed(blob)
    _self_contained(model, frozenset(domains))
    return model


def session(blob: bytes) -> Any:
    """An `onnxruntime.InferenceSession` of one thread for a file that `checked` has let pass; raises ModelError."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a server has its own threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise ModelError(_refused(blob, f"one that ONNX Runtime refuses with {type(error).__name__}")) from error


def _parsed(blob: bytes) -> Any:
    import onnx
    from google.protobuf.message import DecodeError

    if blob.startswith(_PICKLES):
        raise ModelError(_refused(blob, "a pickle, which could run any program"))
    try:
        model = onnx.ModelProto.FromString(blob)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ModelError(_refused(blob, f"bytes that fail with {type(error).__name__}")) from error
    if not model.graph.node:
        raise ModelError(_refused(blob, "a graph without nodes"))
    return model


def _refused(blob: bytes, found: str) -> str:
    return (
        f"not a whole ONNX model: expected an ONNX graph, found {found} ({len(blob)} bytes); nothing was loaded: "
        "store the model again (pickles are never read)"
    )


def _self_contained(model: Any, allowed: frozenset[str]) -> None:
    """Refuse what would make the graph depend on anything but itself and the standard operators."""
    import onnx

    found = list(messages(model))
    outside = [m.name for m in found if isinstance(m, onnx.TensorProto) and (m.external_data or m.data_location)]
    if outside:
        raise ModelError(
            f"the model keeps {len(outside)} tensors in other files, e.g. {outside[0]!r}; expected all numbers inside; "
            "save it without external data"
        )
    domains = {m.domain for m in found if isinstance(m, onnx.NodeProto | onnx.OperatorSetIdProto)} - allowed
    if domains or model.functions:
        raise ModelError(
            f"the model needs operators of {sorted(domains | {f.domain for f in model.functions})}; expected those of "
            "ONNX alone; export it without custom operators"
        )


def messages(message: Any) -> Iterator[Any]:
    """A protocol buffer message and all those within it."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:
                yield from messages(item)
