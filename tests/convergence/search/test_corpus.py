"""A corpus scores as an index of the same items does."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from convergence.search.corpus import Corpus
from convergence.search.qdrant_edge_index import EdgeIndex
from convergence.search.sparse import Bm25

TERMS = Bm25(average=4.0)
TEXTS = {
    "b": "a red bus on a street",
    "a": "a bear in the grass",
    "d": "def readFile(path): return path.read_text()",
    "c": "two red buses and a red bear",
}


def points() -> pl.DataFrame:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(len(TEXTS), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    terms = TERMS.documents(TEXTS.values())
    return pl.DataFrame(
        {
            "item_id": list(TEXTS),
            "event_date": [date(2024, 1, 1)] * len(TEXTS),
            "vector": pl.Series(vectors.tolist(), dtype=pl.List(pl.Float32)),
            "sparse_indices": pl.Series([t.indices for t in terms], dtype=pl.List(pl.Int64)),
            "sparse_values": pl.Series([t.values for t in terms], dtype=pl.List(pl.Float32)),
            "payload": "{}",
            "language": ["en", "en", "python", None],
        }
    )


@pytest.mark.parametrize("query", ["red bus", "bears", "read file", "nothing of that"])
def test_its_scores_are_those_of_the_index(tmp_path: Path, query: str) -> None:
    rows, corpus = points(), Corpus.of(points())
    index = EdgeIndex.create(tmp_path / "shard", 8)
    index.upsert(rows)
    vector = np.asarray(rows["vector"].to_list()[1], np.float32)
    dense = {hit.item_id: hit.score for hit in index.dense(vector.tolist(), 10)}
    sparse = {hit.item_id: hit.score for hit in index.sparse(*TERMS.query(query), 10)}
    index.close()
    ours = dict(zip(corpus.item_ids, corpus.dense(vector[None])[0].tolist(), strict=True))
    words = dict(zip(corpus.item_ids, corpus.sparse([query], TERMS)[0].tolist(), strict=True))
    assert ours == pytest.approx(dense, abs=1e-5)
    assert {k: v for k, v in words.items() if v > 0} == pytest.approx(sparse, rel=1e-4)


def test_items_are_in_the_order_of_their_ids_and_unknown_ones_have_no_place() -> None:
    corpus = Corpus.of(points())
    assert corpus.item_ids == ["a", "b", "c", "d"]
    assert corpus.columns(["d", "x", "a"]) == [3, 0]


def test_a_language_takes_its_own_items_and_none_takes_all() -> None:
    corpus = Corpus.of(points())
    assert corpus.in_language("en").tolist() == [0, 1]
    assert corpus.in_language(None).tolist() == [0, 1, 2, 3]
