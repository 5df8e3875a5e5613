"""The one served form of a model: an ONNX graph with its signature inside, opened only by its hash.

A graph of standard operators is data and not a program, so nothing here can run what a file brings along; whatever is
not such a graph is refused before ONNX Runtime sees it.
"""

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256 as _sha256
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models.boosting import values_of
from convergence.models.onnx_graph import INPUT, TREES

OUTPUT = "probability"
_DOMAINS = frozenset({"", "ai.onnx", TREES})
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


class Scorer:
    """A loaded model. Threads may share it: a call keeps no state, and a run uses one thread."""

    def __init__(self, session: Any, features: tuple[str, ...], sha256: str) -> None:
        self.features, self.sha256 = features, sha256
        self._session = session

    def score(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The calibrated probability of each row, in [0, 1].

        Args:
            values: (n, k), a column per name in `features`, in that order; NaN is missing.

        Returns:
            n values.

        Raises:
            ModelError: another shape or type, or an infinite value.
        """
        return self.outputs(values, [OUTPUT])[OUTPUT]

    def score_rows(self, rows: pl.DataFrame) -> pl.Series:
        """The calibrated probability of each row of a frame that has the model's features, among other columns.

        Raises:
            ModelError: a feature is missing.
            ConvergenceError: a feature is neither a number nor Boolean, or infinite.
        """
        return pl.Series("score", self.score(self._matrix(rows)))

    def outputs(self, values: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Several outputs of the graph at once, as `score` gives the one; raises ModelError as there."""
        if values.ndim != 2 or values.shape[1] != len(self.features) or values.dtype != np.float32:
            raise ModelError(
                f"expected float32 rows of {len(self.features)} features, found {values.dtype} of shape "
                f"{values.shape}; give the columns of `features` in their order"
            )
        if np.isinf(values).any():
            names_of = [self.features[i] for i in np.flatnonzero(np.isinf(values).any(axis=0))]
            raise ModelError(f"features {names_of} hold infinite values; expected finite ones, or NaN for missing")
        found = self._session.run(list(names), {INPUT: values})
        return {name: column[:, 0] for name, column in zip(names, found, strict=True)}

    def outputs_of_rows(self, rows: pl.DataFrame, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Several outputs for a frame, as `score_rows` gives the one; errors as there."""
        return self.outputs(self._matrix(rows), names)

    def _matrix(self, rows: pl.DataFrame) -> NDArray[np.float32]:
        missing = [name for name in self.features if name not in rows.columns]
        if missing:
            raise ModelError(
                f"the rows do not fit the model: expected {list(self.features)}, missing {missing}; score rows of the "
                "feature view that the model was trained on"
            )
        return values_of(rows.select(self.features))


def digest(blob: bytes) -> str:
    """The SHA-256 of a stored model, in hex: what `load` is asked for."""
    return _sha256(blob).hexdigest()


def load(
    blob: bytes, *, sha256: str, features: Sequence[str] | None = None, outputs: Sequence[str] = (OUTPUT,)
) -> Scorer:
    """Open a stored model.

    Args:
        blob: the ONNX file.
        sha256: its hash as the record that names the model has it, in hex.
        features: names in the order that the caller will give them; None takes the model's own.
        outputs: outputs that the model must have.

    Raises:
        ModelError: another hash, no whole ONNX graph, numbers kept in other files, operators that are not standard, no
            signature, or other features.
    """
    found = digest(blob)
    if found != sha256:
        raise ModelError(
            f"the model is not the one asked for: expected sha256 {sha256}, found {found} ({len(blob)} bytes); "
            "nothing was loaded: copy the model again from its table"
        )
    model = _parsed(blob)
    _self_contained(model)
    signature = _signature(model, outputs)
    if features is not None and tuple(features) != signature:
        missing, extra = sorted(set(signature) - set(features)), sorted(set(features) - set(signature))
        what = f"missing {missing}, unexpected {extra}" if missing or extra else "the order differs"
        raise ModelError(
            f"the features do not fit the model ({what}): expected {list(signature)}, found {list(features)}; "
            "serve the feature view that the model was trained on"
        )
    return Scorer(_session(blob), signature, found)


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


def _self_contained(model: Any) -> None:
    """Refuse what would make the graph depend on anything but itself and the standard operators."""
    import onnx

    messages = list(_messages(model))
    outside = [m.name for m in messages if isinstance(m, onnx.TensorProto) and (m.external_data or m.data_location)]
    if outside:
        raise ModelError(
            f"the model keeps {len(outside)} tensors in other files, e.g. {outside[0]!r}; expected all numbers inside; "
            "save it without external data"
        )
    domains = {m.domain for m in messages if isinstance(m, onnx.NodeProto | onnx.OperatorSetIdProto)} - _DOMAINS
    if domains or model.functions:
        raise ModelError(
            f"the model needs operators of {sorted(domains | {f.domain for f in model.functions})}; expected those of "
            "ONNX alone; export it without custom operators"
        )


def _messages(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:
                yield from _messages(item)


def _signature(model: Any, outputs: Sequence[str]) -> tuple[str, ...]:
    """The feature names inside, checked against the graph's own input and outputs."""
    properties = {p.key: p.value for p in model.metadata_props}
    try:
        signature = json.loads(properties["signature"])
        features, dtype = tuple(map(str, signature["features"])), signature["dtype"]
        meaning = signature["output"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "the model has no signature: expected the metadata `signature` with features, dtype and output, found "
            f"{sorted(properties) or 'no metadata'}; store it with convergence.models.onnx_graph"
        ) from error
    inputs = [i.name for i in model.graph.input]
    shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input]
    named = {o.name for o in model.graph.output}
    if inputs != [INPUT] or shapes != [[0, len(features)]] or dtype != "float32" or not named.issuperset(outputs):
        raise ModelError(
            f"the model's signature does not fit its graph: expected one input {INPUT!r} of {len(features)} float32 "
            f"columns and outputs {list(outputs)}, found inputs {inputs} of shape {shapes}, {dtype}, outputs "
            f"{sorted(named)} ({meaning!r}); train and store the model again"
        )
    return features


def _session(blob: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # a server has its own threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no class of their own
        raise ModelError(_refused(blob, f"one that ONNX Runtime refuses with {type(error).__name__}")) from error
