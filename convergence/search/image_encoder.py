"""The default image encoder: backbone and alignment in one graph, from pixels to the space of a text encoder."""

from typing import Any

import numpy as np

from convergence.models import onnx_file
from convergence.search import image_backbone
from convergence.search.alignment import Alignment
from convergence.search.encoders import OUTPUT, Graph, StoredEncoder
from convergence.search.image_backbone import FEATURES, LOGITS


def aligned(backbone: bytes, alignment: Alignment, text: StoredEncoder) -> StoredEncoder:
    """The encoder of role "image" whose documents are pixels and whose queries are the text encoder's.

    Args:
        backbone: the graph that the alignment was fitted to, as `image_backbone.backbone` gives it.
        alignment: into the space of the text encoder.
        text: the text encoder; the new one shares its query graph.

    Returns:
        It is of precision "fp32" on the side of documents, and has no fidelity.
    """
    document = Graph.of(_extended(backbone, alignment), kind="pixels", settings=image_backbone.SETTINGS)
    return StoredEncoder(
        role="image", name="efficientnet-lite2-aligned", source=image_backbone.SOURCE,
        weights_sha256=image_backbone.weights_sha256(), precision="fp32", dimension=text.dimension,
        document=document, query=text.query,
    )  # fmt: skip


def _extended(backbone: bytes, alignment: Alignment) -> bytes:
    """The backbone's graph with `Alignment.vectors` behind it, operator by operator."""
    from onnx import TensorProto, helper, numpy_helper

    model = onnx_file.checked(backbone, sha256=onnx_file.digest(backbone))
    constants = {
        "weights": alignment.weights,
        "intercept": alignment.intercept,
        "temperature": alignment.temperature,
        "classes": alignment.classes,
        "centre": alignment.centre,
        "share": alignment.share,
        "rest": 1 - alignment.share,
    }
    steps: list[tuple[str, str, str]] = [  # operator, inputs, output
        ("MatMul", f"{FEATURES} weights", "weighted"),
        ("Add", "weighted intercept", "regressed"),
        ("Unit", "regressed", "ridge"),
        ("Div", f"{LOGITS} temperature", "tempered"),
        ("Softmax", "tempered", "probabilities"),
        ("MatMul", "probabilities classes", "named"),
        ("Unit", "named", "named_unit"),
        ("Sub", "named_unit centre", "centred"),
        ("Unit", "centred", "conse"),
        ("Mul", "ridge share", "ridge_part"),
        ("Mul", "conse rest", "conse_part"),
        ("Add", "ridge_part conse_part", "mixed"),
        ("Unit", "mixed", OUTPUT),
    ]
    attributes: dict[str, dict[str, Any]] = {"Softmax": {"axis": -1}, "LpNormalization": {"axis": -1, "p": 2}}
    for operator, inputs, output in steps:
        kind = "LpNormalization" if operator == "Unit" else operator
        model.graph.node.append(helper.make_node(kind, inputs.split(), [output], **attributes.get(kind, {})))
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()
    )
    del model.graph.output[:]
    dimension = alignment.weights.shape[1]
    model.graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, dimension]))
    return model.SerializeToString(deterministic=True)
