"""ONNX graphs written by hand: a model's arithmetic is stated once more, operator by operator, in its served form.

No converter guesses what a member means, and the graph holds nothing but standard operators and its own numbers.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSET, TREES_OPSET, IR_VERSION = 17, 3, 8
TREES = "ai.onnx.ml"  # the standard domain of tree ensembles
INPUT = "features"


@dataclass(frozen=True)
class Signature:
    """What a graph takes, and how much it says of a row; NaN is missing.

    `steps` None: columns, a float32 matrix (rows, features). Else a sequence: float32 (rows, steps, features), each
    feature of a row a list of so many numbers, the newest last. `width`: float64 numbers that an output has for a row,
    e.g. one per class.
    """

    features: tuple[str, ...]
    steps: int | None = None
    width: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """That of a row."""
        return (len(self.features),) if self.steps is None else (self.steps, len(self.features))


class Graph:
    """Nodes and constants in the order they are added; a value is named by its place, so equal models are equal bytes.

    The one input is as its Signature says.
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

    def to_bytes(
        self,
        outputs: Mapping[str, str],
        features: Sequence[str],
        meaning: str,
        *,
        steps: int | None = None,
        width: int = 1,
    ) -> bytes:
        """The whole model, signature inside.

        Args:
            outputs: name in the model -> name of the value, float64 (rows, width).
            features: names in the order of the input's last axis.
            meaning: of the outputs, in words.
            steps: length of the sequences that it takes; None: it takes columns.
            width: numbers that each output has for a row.
        """
        from onnx import TensorProto, helper

        taken = Signature(tuple(features), steps, width)
        named = [helper.make_node("Identity", [value], [name]) for name, value in outputs.items()]
        graph = helper.make_graph(
            [*self._nodes, *named],
            "model",
            [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["rows", *taken.shape])],
            [helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["rows", width]) for name in outputs],
            initializer=self._constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(TREES, TREES_OPSET)],
            ir_version=IR_VERSION,
            producer_name="convergence",
        )
        # What most models are is not said: their bytes stay those of graphs that were stored before there were others.
        more = {"steps": steps} if steps is not None else {}
        more |= {"width": width} if width != 1 else {}
        signature = {"features": list(features), "dtype": "float32", "missing": "NaN", "output": meaning, **more}
        helper.set_model_props(model, {"signature": json.dumps(signature)})
        return model.SerializeToString(deterministic=True)
