"""Several models as one encoder: its vectors are theirs side by side, its cosine the weighted mean of theirs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from convergence.errors import EncoderError
from convergence.search.checkpoints import SENTENCES, exported
from convergence.search.encoders import StoredEncoder, opened
from convergence.search.joined_towers import parts_of
from tests.convergence.search.tiny_checkpoints import bert, dual, sentence_transformer

TEXTS = ["red bus", "a", "def f of g and " * 20]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    here = tmp_path_factory.mktemp("models")
    return [bert(here / "one", length=40), sentence_transformer(here / "two", "cls")]


@pytest.fixture(scope="module")
def both(folders: list[Path]) -> StoredEncoder:
    return exported("+".join(f"folder:{folder}" for folder in folders), role="text", precision="fp32", max_tokens=24)


def parts(encoder: StoredEncoder) -> list[tuple[str, int]]:
    return json.loads(encoder.document.settings)["parts"]


def test_each_part_is_what_its_model_alone_gives(both: StoredEncoder, folders: list[Path]) -> None:
    found = parts_of(parts(both), opened(both).encode_documents(TEXTS))
    assert list(found) == ["one", "tiny"]
    for folder, part in zip(folders, found.values(), strict=True):
        alone = opened(exported(folder, role="text", precision="fp32", max_tokens=24))
        np.testing.assert_allclose(part, alone.encode_documents(TEXTS), atol=1e-5)


def test_a_cosine_is_the_mean_of_the_models_weighted_so_that_unlike_texts_differ_alike_in_both(
    both: StoredEncoder,
) -> None:
    vectors = opened(both).encode_documents(list(SENTENCES))
    apart = np.triu_indices(len(SENTENCES), 1)
    alone = [(part @ part.T)[apart] for part in parts_of(parts(both), vectors).values()]
    first, second = 1 / alone[0].std(), 1 / alone[1].std()
    expected = (first * alone[0] + second * alone[1]) / (first + second)
    np.testing.assert_allclose((vectors @ vectors.T)[apart], expected, atol=1e-5)


def test_where_it_comes_from_names_every_model(both: StoredEncoder, folders: list[Path]) -> None:
    assert (both.name, both.source, both.dimension) == ("one+tiny", "folder:one+folder:tiny", 64)
    backwards = exported(
        "+".join(f"folder:{folder}" for folder in folders[::-1]), role="text", precision="fp32", max_tokens=24
    )
    assert backwards.weights_sha256 != both.weights_sha256
    assert exported(folders[0], role="text", precision="fp32").weights_sha256 not in both.weights_sha256


def test_int8_of_both_is_close_to_fp32(folders: list[Path]) -> None:
    small = exported("+".join(f"folder:{folder}" for folder in folders), role="code", max_tokens=24)
    assert small.fidelity is not None
    assert 0.97 < small.fidelity < 1


def other_words(folder: Path) -> Path:
    told = json.loads((folder / "tokenizer.json").read_text())
    words = told["model"]["vocab"]
    words["red"], words["bus"] = words["bus"], words["red"]
    (folder / "tokenizer.json").write_text(Tokenizer.from_str(json.dumps(told)).to_str())
    return folder


@pytest.mark.parametrize("how", ["words", "prompts", "pooled over fewer tokens"])
def test_models_that_read_a_text_in_other_ways_are_not_joined(how: str, folders: list[Path], tmp_path: Path) -> None:
    other = {
        "words": lambda: other_words(bert(tmp_path / "other")),
        "prompts": lambda: sentence_transformer(tmp_path, "mean", {"query": "ask ", "document": ""}),
        "pooled over fewer tokens": lambda: bert(tmp_path / "short", length=12),
    }[how]()
    with pytest.raises(EncoderError, match=r"one and \w+ cannot be joined: expected text models with one vocabulary"):
        exported(f"folder:{folders[0]}+folder:{other}", role="text", max_tokens=24)


def test_images_have_no_joined_encoder(folders: list[Path], tmp_path: Path) -> None:
    clip = dual(tmp_path / "clip", "CLIP")
    with pytest.raises(EncoderError, match="cannot be joined"):
        exported(f"folder:{clip}+folder:{clip}", role="image")


def test_a_folder_whose_name_has_a_plus_is_one_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert exported(f"folder:{bert(tmp_path / 'a+b')}", role="text", precision="fp32").name == "a+b"
