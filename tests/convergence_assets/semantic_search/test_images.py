"""Which captions an alignment learns from, and which images a judged query may find, whatever arrived how often."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from convergence.search import image_backbone
from convergence.search.corpus import Corpus
from convergence_assets.semantic_search.images import labelled
from convergence_assets.semantic_search.world import ALIGNED, World
from tests.convergence.search.tiny_encoders import encoder

BEGAN = datetime(2024, 1, 1, tzinfo=UTC)


def sent(day: int, item_id: str, **columns: Any) -> dict[str, Any]:
    at = BEGAN + timedelta(days=day)
    return {"item_id": item_id, "event_time": at, "arrived_at": at, **columns}


def caption(day: int, item_id: str, text: str | None, image: str, modality: str = "text") -> dict[str, Any]:
    return sent(day, item_id, text=text, parent_id=image, modality=modality)


def known(*items: dict[str, Any]) -> list[tuple]:
    features = pl.LazyFrame(
        [sent(day, image, features=[float(day)]) for image, day in (("i1", 0), ("i2", 0), ("i1", 3))]
    )
    return labelled(features, pl.LazyFrame(items)).select("item_id", "features", "captions", "caption_ids").rows()


def test_of_a_caption_and_an_image_that_were_sent_again_the_newest_counts_alone() -> None:
    found = known(caption(0, "c1", "a bus", "i1"), caption(0, "c2", "red", "i1"), caption(2, "c1", "a red bus", "i1"))
    assert found == [("i1", [3.0], ["a red bus", "red"], ["c1", "c2"])]


def test_a_function_that_names_an_image_is_no_caption_of_it() -> None:
    assert known(caption(0, "c1", "a bus", "i1"), caption(0, "f", None, "i1", "code"))[0][2] == ["a bus"]


def world(images: list[str], scored: dict[str, float]) -> World:
    points = pl.DataFrame({"item_id": images, "language": None, "vector": [[1.0, 0.0, 0.0]] * len(images),
                           "sparse_indices": [[1]] * len(images), "sparse_values": [[1.0]] * len(images)})  # fmt: skip
    unseen = pl.DataFrame(
        [{"candidate": ALIGNED, "query_id": "q", "images": list(scored), "scores": list(scored.values())}]
    )
    return World({"image": Corpus.of(points)}, {"image": encoder("image", source=image_backbone.SOURCE)}, unseen)


def asked(image: str) -> pl.DataFrame:
    query = {
        "query_id": "q",
        "cluster": "q",
        "query": "a bus",
        "modality": "image",
        "language": None,
        "relevant": [image],
        "without": [],
    }
    return pl.DataFrame([query], schema_overrides={"without": pl.List(pl.String), "language": pl.String})


def test_an_image_without_a_caption_moves_no_score_to_another_image() -> None:
    there = world(["i1", "i2", "i3"], {"i1": 0.1, "i3": 0.3})
    judged = there.judged(asked("i3"))
    assert np.asarray(judged.dense).tolist() == [pytest.approx([0.1, 0.3])]
    assert (judged.sparse.shape, judged.relevant) == ((1, 2), [[1]])


def test_a_query_for_an_image_that_nothing_was_held_out_for_is_not_judged() -> None:
    there = world(["i1", "i2"], {"i1": 0.1})
    assert [there.answerable(asked(image)).height for image in ("i1", "i2")] == [1, 0]
