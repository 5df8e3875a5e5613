"""A torch module becomes one ONNX graph, equal bytes from equal weights, and is compared with torch before it is given.

The exporter writes where in which file each node was called from; all of that is taken out, for it is no part of the
model and names folders of the machine.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convergence.errors import EncoderError
from convergence.models import onnx_file

TOLERANCE = 1e-5  # ONNX Runtime beside torch, of an output's largest number where that is above one
OPSET = 20


def unit_module(model: Any, forward: Callable[[Any, Any], Any]) -> Any:
    """A `torch.nn.Module` of one input: `forward(model, input)`, each row brought to length one."""
    import torch

    class Unit(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, item: Any) -> Any:
            return torch.nn.functional.normalize(forward(self.model, item), dim=-1)

    return Unit().eval()


def exported_graph(
    module: Any, examples: Sequence[NDArray[Any]], *, inputs: str, outputs: Sequence[str], longest: int | None = None
) -> bytes:
    """The ONNX file of a module.

    Args:
        module: a `torch.nn.Module` of one input, in evaluation mode.
        examples: inputs to compare ONNX Runtime with torch on; the first is traced.
        inputs: the name of the input.
        outputs: the names of the outputs, in the order that the module gives them.
        longest: the largest second dimension, where that one varies.

    Raises:
        EncoderError: the module cannot be exported, or an output is further than `TOLERANCE` from torch's.
    """
    import logging

    import torch

    logging.getLogger("torch.utils.flop_counter").setLevel(logging.ERROR)  # it misses triton, and is not asked
    traced = torch.from_numpy(examples[0])
    varying = {"item": {1: torch.export.Dim("length", min=2, max=longest)}} if longest else None
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of deprecations inside the exporter
            program = torch.onnx.export(
                module, (traced,), dynamo=True, verbose=False, opset_version=OPSET, dynamic_shapes=varying,
                input_names=[inputs], output_names=list(outputs),
            )  # fmt: skip
    except Exception as error:  # each stage of the exporter has errors of its own
        raise EncoderError(
            f"the model cannot be written as an ONNX graph ({type(error).__name__}); expected one that torch.export "
            "can trace: choose another checkpoint"
        ) from error
    blob = _plain(program.model_proto) if program is not None else b""
    _compared(module, blob, examples, inputs)
    return blob


def quantized(blob: bytes) -> bytes:
    """The graph with its matrices as integers, one scale per column; activations are scaled as they come.

    Of the 8 bits 7 are used: with all 8, sums overflow on processors without VNNI, so vectors would depend on the
    machine. It costs 0.001 of cosine.
    """
    import logging

    from onnx import load_from_string, save
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().disabled, was = True, logging.getLogger().disabled  # advice meant for its own command line
    try:
        with TemporaryDirectory() as folder:
            source, target = Path(folder, "fp32.onnx"), Path(folder, "int8.onnx")
            save(load_from_string(blob), source)
            quantize_dynamic(
                source, target, op_types_to_quantize=["MatMul", "Gemm", "Gather"], weight_type=QuantType.QInt8,
                per_channel=True, reduce_range=True,
            )  # fmt: skip
            return _plain(load_from_string(target.read_bytes()))
    finally:
        logging.getLogger().disabled = was


def _plain(model: Any) -> bytes:
    for message in onnx_file.messages(model):
        for field in ("doc_string", "metadata_props"):
            if field in message.DESCRIPTOR.fields_by_name:
                message.ClearField(field)
    del model.graph.value_info[:]  # shapes between nodes: they are inferred again, and a quantised graph's are others
    model.producer_name, model.producer_version, model.graph.name = "convergence", "", "encoder"
    return model.SerializeToString(deterministic=True)


def _compared(module: Any, blob: bytes, examples: Sequence[NDArray[Any]], inputs: str) -> None:
    import torch

    onnx_file.checked(blob, sha256=onnx_file.digest(blob))
    session = onnx_file.session(blob)
    with torch.no_grad():
        for example in examples:
            expected = module(torch.from_numpy(example))
            expected = expected if isinstance(expected, tuple) else (expected,)
            for mine, theirs in zip(session.run(None, {inputs: example}), expected, strict=True):
                distance = float(np.abs(mine - theirs.numpy()).max() / max(1.0, float(theirs.abs().max())))
                if not distance <= TOLERANCE:
                    raise EncoderError(
                        f"the ONNX graph differs from torch by {distance:.1e} on an input of shape {example.shape}; "
                        f"expected at most {TOLERANCE:.0e}: choose another checkpoint"
                    )
