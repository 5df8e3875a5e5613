"""What every index of vectors can do, whatever engine is under it, and the order of hits that all of them give.

Engines order equal scores as they please, so pages would overlap; here equal scores are always in the order of item
ids.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple, Protocol, runtime_checkable
from uuid import UUID, uuid5

import polars as pl

DENSE, SPARSE = "dense", "sparse"  # names of the two vectors of a point
ITEMS = UUID("6f1c8a52-0d0e-5f5c-9d53-8a4e5a3f5c10")

POINT = pl.Schema(
    {
        "item_id": pl.String,
        "event_date": pl.Date,
        "vector": pl.List(pl.Float32),
        "sparse_indices": pl.List(pl.Int64),
        "sparse_values": pl.List(pl.Float32),
        "payload": pl.String,
        "language": pl.String,
    }
)


class Hit(NamedTuple):
    """An item that was found; `payload` as it was given, JSON by convention."""

    item_id: str
    score: float
    payload: str


@dataclass(frozen=True)
class Where:
    """Which items may be found; None and empty `without` restrict nothing.

    Days are event dates, both ends included. `only` scores a known set of items: `dense(vector, len(ids), where)`.
    """

    first_day: date | None = None
    last_day: date | None = None
    languages: Collection[str] | None = None
    without: Collection[str] = ()
    only: Collection[str] | None = None


EVERYTHING = Where()


@runtime_checkable
class VectorIndex(Protocol):
    """Points with a dense and a sparse vector each. Threads may share one for reading."""

    dimension: int

    def upsert(self, points: pl.DataFrame) -> None:
        """Add points, or replace those of the same item; columns as in POINT, others are ignored.

        Raises:
            SearchError: columns, dimension, length, NaN or repeated items; nothing was written.
        """
        ...

    def delete(self, item_ids: Collection[str]) -> None:
        """Remove items; those that are not there are ignored."""
        ...

    def count(self) -> int:
        """How many items there are."""
        ...

    def dense(self, vector: Sequence[float], k: int, where: Where = EVERYTHING) -> list[Hit]:
        """The k items of the greatest dot product with a vector of unit length, greatest first.

        Raises:
            SearchError: another dimension or length, or a NaN.
        """
        ...

    def sparse(self, indices: Sequence[int], values: Sequence[float], k: int, where: Where = EVERYTHING) -> list[Hit]:
        """The k items of the greatest sum of query weight x document weight x IDF, greatest first.

        The IDF, ln(1 + (N - n + 0.5) / (n + 0.5)), counts all N items of the index, whatever `where` says. Items that
        share no index with the query are no hits.
        """
        ...

    def close(self) -> None:
        """Let go of files and connections; the index is not to be used afterwards."""
        ...


def point_id(item_id: str) -> str:
    """The UUID that engines know an item by: they take no other text."""
    return str(uuid5(ITEMS, item_id))


def stored(row: Mapping[str, Any]) -> dict[str, Any]:
    """What an engine keeps of a point beside its vectors; `day` is a number, which all engines can filter by."""
    kept = {name: row[name] for name in ("item_id", "language", "payload")}
    return {**kept, "day": row["event_date"].toordinal()}


def days(where: Where) -> dict[str, int]:
    """The bounds of `where` on `day`, by the names that engines give them."""
    bounds = {"gte": where.first_day, "lte": where.last_day}
    return {name: day.toordinal() for name, day in bounds.items() if day}


def in_order(fetch: Callable[[int], list[Hit]], k: int) -> list[Hit]:
    """The first k hits by (score descending, item id), from an engine that cuts ties where it likes.

    Args:
        fetch: the engine's best hits, at most as many as asked for. It is asked for more until the worst of them is
            below the k-th, so that no tie is cut.
    """
    if k <= 0:
        return []
    asked = k + 1
    while True:
        hits = sorted(fetch(asked), key=lambda hit: (-hit.score, hit.item_id))
        if len(hits) < asked or hits[-1].score < hits[k - 1].score:
            return hits[:k]
        asked *= 4
