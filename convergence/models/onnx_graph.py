"""ONNX graphs written by hand: a model's arithmetic is stated once more, operator by operator, in its served form.

No converter guesses what a member means, and the graph holds nothing but standard operators and its own numbers.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET, TREES_OPSET, IR_VERSION = 17, 3, 8
TREES = "ai.onnx.ml"  # the standard domain of tree ensembles
INPUT = "features"


class Graph:
    """Nodes and constants in the order they are added; a value is named by its place, so equal models are equal bytes.

    The one input is a float32 matrix with a row per case and a column per feature; NaN is missing.
    """

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, values: NDArray[Any] | np.generic) -> str:
        """A constant of the array's own shape and type."""
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output; returns the name of that output."""
        from onnx import helper

        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], domain=domain, **attributes))
        return name

    def to_bytes(self, outputs: Mapping[str, str], features: Sequence[str], meaning: str) -> bytes:
        """The whole model: `outputs` are float64 columns (name in the model, name of the value), signature inside."""
        from onnx import TensorProto, helper

        named = [helper.make_node("Identity", [value], [name]) for name, value in outputs.items()]
        graph = helper.make_graph(
            [*self._nodes, *named],
            "model",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", len(features)])],
            [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows", 1]) for name in outputs],
            initializer=self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(TREES, TREES_OPSET)],
            ir_version=IR_VERSION,
            producer_name="convergence",
        )
        signature = {"features": list(features), "dtype": "float32", "missing": "NaN", "output": meaning}
        helper.set_model_props(model, {"signature": json.dumps(signature)})
        return model.SerializeToString(deterministic=True)
