"""What other encoders would have to encode of a small lake, and what an image takes one."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from convergence.errors import ObjectError
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.objects.store import Objects
from convergence.search.use_case import SAMPLE
from convergence_assets.semantic_search.reencoding import contents, split, timed
from tests.convergence.search.small_world import COLOURS, encoders, picture

DAYS = ["2024-01-01", "2024-01-02"]
A, B = "a" * 64, "b" * 64


def land(lake: Lake, name: str, days: dict[str, dict[str, list[str | None]]]) -> None:
    frames = {
        day: pl.DataFrame(columns).with_columns(event_date=date.fromisoformat(day)) for day, columns in days.items()
    }
    table = f"semantic_search/{name}"
    lake.replace(table, frames, build_manifest(frames, "replace", Provenance("test", "1")), lake.open(table))


@pytest.fixture
def filled(lake: Lake) -> Lake:
    """Texts of two days, one of them on both, a function, and vectors of the first day by two graphs."""
    land(lake, "search_items", {
        DAYS[0]: {"modality": ["text", "text", "code"], "text": ["one", "two", "says"], "code": [None, None, "def f"],
                  "content_hash": ["1", "2", "f"]},
        DAYS[1]: {"modality": ["text", "text", "code"], "text": ["two", "three", None], "code": [None, None, "def g"],
                  "content_hash": ["2", "3", "g"]},
    })  # fmt: skip
    land(lake, "text_embeddings", {DAYS[0]: {"content_hash": ["1", "2"], "encoder": [A, B]}})
    return lake


def test_contents_are_counted_once_and_are_what_is_encoded(filled: Lake) -> None:
    assert contents(filled, "text", DAYS).rows() == [("1", "one"), ("2", "two"), ("3", "three")]
    assert contents(filled, "text", DAYS[1:])["content_hash"].to_list() == ["2", "3"]
    assert contents(filled, "code", DAYS)["given"].to_list() == ["def f", "def g"]


@pytest.mark.parametrize(("graph", "expected"), [(A, (2, 1)), (B, (2, 1)), ("c" * 64, (3, 0)), (None, (3, 0))])
def test_vectors_of_the_same_graph_are_kept_and_no_others(
    filled: Lake, graph: str | None, expected: tuple[int, int]
) -> None:
    assert split(filled, "text", contents(filled, "text", DAYS), graph) == expected


def test_without_any_vectors_all_is_encoded(filled: Lake) -> None:
    assert split(filled, "code", contents(filled, "code", DAYS), A) == (2, 0)


def test_an_encoder_is_timed_on_texts_and_on_images_from_the_store(tmp_path: Path) -> None:
    objects = Objects.at(str(tmp_path / "objects"))
    names = [objects.put(picture((n, *colour[1:]))).sha256 for colour in COLOURS.values() for n in range(SAMPLE)]
    given = {"image": names, "text": ["a red square"] * 3}
    for role, each in given.items():
        found = timed(encoders()[role], pl.DataFrame({"given": each}), objects)
        assert found
        assert 0 < found.elapsed_seconds < 1  # of one of them
    assert timed(encoders()["text"], pl.DataFrame({"given": []}), objects) is None


def test_an_image_that_left_the_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(ObjectError):
        timed(encoders()["image"], pl.DataFrame({"given": [A]}), Objects.at(str(tmp_path / "objects")))
