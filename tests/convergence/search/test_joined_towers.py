"""Several models as one encoder: its vectors are theirs side by side, its cosine the weighted mean of theirs."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from convergence.errors import EncoderError
from convergence.search.checkpoints import SENTENCES, exported
from convergence.search.encoders import opened, text_tokens
from convergence.search.joined_towers import joined, parts_of
from convergence.search.towers import Tower, towers
from tests.convergence.search.tiny_checkpoints import bert, dual, sentence_transformer

NAMES = ("one", "two")
TEXTS = ["red bus", "a", "def f of g and " * 20, *SENTENCES]


def towers_of(folder: Path, *, image: bool = False) -> tuple[Tower, Tower]:
    return towers(folder, source=folder.name, image=image, max_tokens=24)


def encoded(tower: Tower, texts: list[str]) -> Any:
    tokens = text_tokens(tower.settings)
    with torch.no_grad():
        return np.concatenate([tower.module(torch.from_numpy(tokens(text))).numpy() for text in texts])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    here = tmp_path_factory.mktemp("models")
    return [bert(here / "one", length=40), sentence_transformer(here / "two", "cls")]


@pytest.fixture(scope="module")
def both(folders: list[Path]) -> Tower:
    document, query = joined([towers_of(folder) for folder in folders], NAMES, SENTENCES)
    assert document is query
    return document


def test_each_part_is_what_its_model_alone_gives(both: Tower, folders: list[Path]) -> None:
    parts = parts_of(both.settings["parts"], encoded(both, TEXTS))
    assert list(parts) == list(NAMES)
    for folder, part in zip(folders, parts.values(), strict=True):
        np.testing.assert_allclose(part, encoded(towers_of(folder)[0], TEXTS), atol=1e-5)


def test_a_cosine_is_the_mean_of_the_models_weighted_so_that_unlike_texts_differ_alike_in_both(both: Tower) -> None:
    vectors, apart = encoded(both, list(SENTENCES)), np.triu_indices(len(SENTENCES), 1)
    alone = [(part @ part.T)[apart] for part in parts_of(both.settings["parts"], vectors).values()]
    first, second = 1 / alone[0].std(), 1 / alone[1].std()
    assert first / second != pytest.approx(1, rel=0.05)
    expected = (first * alone[0] + second * alone[1]) / (first + second)
    np.testing.assert_allclose((vectors @ vectors.T)[apart], expected, atol=1e-5)


def test_an_exported_one_names_every_model_and_stays_close_in_int8(both: Tower, folders: list[Path]) -> None:
    stored = exported("+".join(f"folder:{folder}" for folder in folders), role="code", max_tokens=24)
    assert (stored.name, stored.source, stored.dimension) == ("one+tiny", "folder:one+folder:tiny", 64)
    assert json.loads(stored.document.settings)["parts"] == [["one", 32], ["tiny", 32]]
    assert stored.fidelity is not None
    assert 0.97 < stored.fidelity < 1
    close = (opened(stored).encode_documents(TEXTS) * encoded(both, TEXTS)).sum(axis=1)
    assert close.min() > 0.95


def other_tokenizer(folder: Path, how: str) -> Path:
    told = json.loads((folder / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    if how == "other words":
        words["red"], words["bus"] = words["bus"], words["red"]
    elif how == "cases":
        told["normalizer"]["lowercase"] = False
    else:
        told["post_processor"] = None
    (folder / "tokenizer.json").write_text(Tokenizer.from_str(json.dumps(told)).to_str())
    return folder


@pytest.mark.parametrize("how", ["other words", "cases", "no special tokens", "prompts", "fewer tokens", "images"])
def test_models_that_read_a_text_in_other_ways_are_not_joined(how: str, folders: list[Path], tmp_path: Path) -> None:
    other = {
        **dict.fromkeys(
            ("other words", "cases", "no special tokens"), lambda: towers_of(other_tokenizer(bert(tmp_path), how))
        ),
        "prompts": lambda: towers_of(sentence_transformer(tmp_path, "mean", {"query": "ask ", "document": ""})),
        "fewer tokens": lambda: towers_of(bert(tmp_path, length=12)),
        "images": lambda: towers_of(dual(tmp_path, "CLIP"), image=True),
    }[how]()
    with pytest.raises(
        EncoderError, match="one and two cannot be joined: expected text models that make the same tokens"
    ):
        joined([towers_of(folders[0]), other], NAMES, SENTENCES)


@pytest.mark.parametrize("texts", [["red bus"], ["red bus"] * 4, []])
def test_texts_that_tell_no_model_apart_are_refused(texts: list[str], folders: list[Path]) -> None:
    with pytest.raises(EncoderError, match=f"gives all of {len(texts)} texts the same vector"):
        joined([towers_of(folder) for folder in folders], NAMES, texts)


def test_one_model_twice_is_refused(folders: list[Path]) -> None:
    with pytest.raises(EncoderError, match="has one model twice"):
        exported(f"folder:{folders[0]}+folder:{folders[0]}", role="text")


def test_models_of_one_name_are_told_apart(folders: list[Path], tmp_path: Path) -> None:
    other = bert(tmp_path / "one")
    stored = exported(f"folder:{folders[0]}+folder:{other}", role="text", precision="fp32", max_tokens=24)
    assert (stored.name, stored.source) == ("one 1+one 2", "folder:one+folder:one")
    assert json.loads(stored.document.settings)["parts"] == [["one 1", 32], ["one 2", 32]]


def test_a_folder_whose_name_has_a_plus_is_one_checkpoint(tmp_path: Path) -> None:
    assert exported(f"folder:{bert(tmp_path / 'a+b')}", role="text", precision="fp32").name == "a+b"
