"""Recall is the share of the exact answer that was found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from convergence.errors import SearchError
from convergence.search.backends import EVERYTHING, Hit, Where
from convergence.search.qdrant_edge_index import EdgeIndex
from convergence.search.recall import recall_at
from tests.convergence.search.index_points import made, units


def test_an_exact_index_has_full_recall_and_ties_do_not_count_against_it(tmp_path: Path) -> None:
    points, index = made(200), EdgeIndex.create(tmp_path / "i", 8)
    index.upsert(points)
    vectors = np.array(points["vector"].to_list(), np.float32)
    assert recall_at(index, points["item_id"].to_list(), vectors, units(70, seed=3), 10) == 1.0
    index.close()


class Half(EdgeIndex):
    """Finds every second of the best, and the worst instead of the others."""

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors, self.dimension = vectors, vectors.shape[1]

    def dense(self, vector: Sequence[float], k: int, where: Where = EVERYTHING) -> list[Hit]:
        order = np.argsort(-self.vectors @ np.asarray(vector, np.float32))
        return [Hit(str(n), 0.0, "") for n in [*order[:k:2], *order[-(k // 2) :]]]


def test_an_index_that_finds_half_has_a_recall_of_a_half() -> None:
    vectors = units(100)
    assert recall_at(Half(vectors), [str(n) for n in range(100)], vectors, units(9, seed=3), 10) == pytest.approx(0.5)


def test_recall_of_nothing_is_refused() -> None:
    with pytest.raises(SearchError, match="is no number"):
        recall_at(Half(units(5)), list("abcde"), units(5), units(0), 10)
