"""One modality's items as matrices, for whoever judges rankings by all of their scores and not by the best alone."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.search.sparse import Bm25, SparseVector


@dataclass(frozen=True)
class Corpus:
    """Items in the order of their ids: `item_ids` (n), `languages` (n), `vectors` (n, d), `terms` (n) of each."""

    item_ids: list[str]
    languages: list[str | None]
    vectors: NDArray[np.float32]
    terms: list[SparseVector]

    @classmethod
    def of(cls, points: pl.DataFrame) -> "Corpus":
        """The corpus of points (item_id, language, vector, sparse_indices, sparse_values), each item once."""
        rows = points.sort("item_id")
        terms = [SparseVector(i, v) for i, v in rows.select("sparse_indices", "sparse_values").iter_rows()]
        return cls(
            rows["item_id"].to_list(),
            rows["language"].to_list(),
            np.asarray(rows["vector"].to_list(), np.float32),
            terms,
        )

    def columns(self, item_ids: Collection[str]) -> list[int]:
        """The places of items; those that are not there are left out."""
        return [self._places[item] for item in item_ids if item in self._places]

    def in_language(self, language: str | None) -> NDArray[np.int64]:
        """The places of the items of a language; None: of all."""
        every = np.arange(len(self.item_ids))
        return every if language is None else every[[found == language for found in self.languages]]

    def dense(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """(q, n) cosines of queries (q, d)."""
        return queries @ self.vectors.T

    def sparse(self, queries: Sequence[str], terms: Bm25) -> NDArray[np.float32]:
        """(q, n) BM25 scores of queries' words, with the IDF that an index of these items has."""
        from scipy.sparse import csr_matrix

        rows = [terms.query(query) for query in queries]
        found = _matrix(rows, self._ids, csr_matrix)
        return np.asarray((found.multiply(self._idf) @ self._weights.T).todense(), np.float32)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {item: n for n, item in enumerate(self.item_ids)}

    @cached_property
    def _ids(self) -> dict[int, int]:
        return {term: n for n, term in enumerate(sorted({i for vector in self.terms for i in vector.indices}))}

    @cached_property
    def _weights(self) -> Any:
        from scipy.sparse import csr_matrix

        return _matrix(self.terms, self._ids, csr_matrix)

    @cached_property
    def _idf(self) -> NDArray[np.float64]:
        holding = np.asarray((self._weights > 0).sum(axis=0)).ravel()
        return np.log(1 + (len(self.item_ids) - holding + 0.5) / (holding + 0.5))[None, :]


def _matrix(vectors: Sequence[SparseVector], ids: dict[int, int], kind: Any) -> Any:
    known = [[(ids[i], v) for i, v in zip(*vector, strict=True) if i in ids] for vector in vectors]
    ends = np.cumsum([0, *map(len, known)])
    columns, values = ([pair[side] for of in known for pair in of] for side in (0, 1))
    return kind((np.asarray(values, np.float64), np.asarray(columns, np.int64), ends), shape=(len(vectors), len(ids)))
