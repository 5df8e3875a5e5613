"""Encoders small enough to be made for a test: a bag of token vectors, and the mean colour of an image."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from convergence.search.encoders import INPUT, OUTPUT, Graph, Role, StoredEncoder

WORDS = ["[UNK]", "a", "red", "bus", "blue", "cat", "sum", "list", "of", "numbers"]


def tokenizer() -> str:
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    made.enable_truncation(8)
    return made.to_str()


def onnx_of(nodes: list[Any], constants: dict[str, Any], kind: str) -> bytes:
    taken = (TensorProto.INT64, [1, "length"]) if kind == "text" else (TensorProto.UINT8, [1, 4, 4, 3])
    graph = helper.make_graph(
        [*nodes, helper.make_node("LpNormalization", ["mean"], [OUTPUT], axis=-1, p=2)],
        "tiny",
        [helper.make_tensor_value_info(INPUT[kind], *taken)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [1, 3])],
        initializer=[numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def text_graph(seed: int = 0, **settings: Any) -> Graph:
    table = np.random.default_rng(seed).normal(size=(len(WORDS), 3)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "tokens"], ["rows"]),
             helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1], keepdims=0)]  # fmt: skip
    settings = {"tokenizer": tokenizer()} | settings
    return Graph.of(onnx_of(nodes, {"table": table}, "text"), kind="text", settings=settings)


def pixel_graph() -> Graph:
    nodes = [helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
             helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0)]  # fmt: skip
    settings = {"size": 4, "fit": "squash", "resample": "bicubic"}
    return Graph.of(onnx_of(nodes, {}, "pixels"), kind="pixels", settings=settings)


def encoder(role: Role = "text", **changes: Any) -> StoredEncoder:
    """A stored encoder of d = 3; for the role "image" documents are uint8 pixels (4, 4, 3)."""
    document = pixel_graph() if role == "image" else text_graph()
    facts = {"name": "tiny", "source": "package:tiny", "weights_sha256": "0" * 64, "precision": "fp32",
             "dimension": 3, "document": document, "query": text_graph()}  # fmt: skip
    return StoredEncoder(role=role, **(facts | changes))
