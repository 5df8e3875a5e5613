"""Made-up points with few different vectors, so that many scores tie, and the slow truth about them."""

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from math import log

import numpy as np
import polars as pl

from convergence.search.backends import POINT, Where

DIMENSION, FIRST = 8, date(2024, 1, 1)
LANGUAGES = ("python", "java", None)


def units(rows: int, dimension: int = DIMENSION, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def made(rows: int = 60, *, seed: int = 0, dimension: int = DIMENSION, encoder: str = "e1") -> pl.DataFrame:
    """Points over ten days; each vector is there up to four times, each term in a third of them."""
    random = np.random.default_rng(seed)
    vectors = units(rows, dimension, seed)[np.arange(rows) // 4]
    terms = [sorted(random.choice(12, size=random.integers(0, 6), replace=False)) for _ in range(rows)]
    return pl.DataFrame(
        {
            "item_id": [f"ítem/{random.integers(1 << 30)}-{n}" for n in range(rows)],
            "event_date": [FIRST + timedelta(days=n % 10) for n in range(rows)],
            "vector": vectors.tolist(),
            "sparse_indices": [[int(t) * 300_000_000 for t in ts] for ts in terms],
            "sparse_values": [(random.integers(1, 4, len(ts)) / 2).tolist() for ts in terms],
            "payload": [f'{{"n": {n}}}' for n in range(rows)],
            "language": [LANGUAGES[n % 3] for n in range(rows)],
            "content_hash": [f"c{n}" for n in range(rows)],
            "encoder": encoder,
        },
        schema_overrides=POINT,
    )


def matching(points: pl.DataFrame, where: Where) -> pl.DataFrame:
    """The points that `where` lets through, one condition after the other."""
    for condition in (
        pl.col("event_date") >= where.first_day if where.first_day else None,
        pl.col("event_date") <= where.last_day if where.last_day else None,
        pl.col("language").is_in(list(where.languages)) if where.languages is not None else None,
        pl.col("item_id").is_in(list(where.only)) if where.only is not None else None,
        ~pl.col("item_id").is_in(list(where.without)),
    ):
        points = points if condition is None else points.filter(condition)
    return points


def exact_dense(points: pl.DataFrame, vector: Sequence[float], k: int, where: Where) -> list[tuple[str, float]]:
    rows = matching(points, where)
    scores = {i: float(np.dot(v, np.asarray(vector, np.float32))) for i, v in rows.select("item_id", "vector").rows()}
    return best(scores, k)


def exact_sparse(
    points: pl.DataFrame, indices: Sequence[int], values: Sequence[float], k: int, where: Where
) -> list[tuple[str, float]]:
    count = Counter(index for held in points["sparse_indices"] for index in held)
    idf = {i: log(1 + (points.height - count[i] + 0.5) / (count[i] + 0.5)) for i in indices}
    scores = {}
    for item, held, weights in matching(points, where).select("item_id", "sparse_indices", "sparse_values").rows():
        of = dict(zip(held, weights, strict=True))
        if of.keys() & set(indices):
            scores[item] = sum(v * of[i] * idf[i] for i, v in zip(indices, values, strict=True) if i in of)
    return best(scores, k)


def best(scores: dict[str, float], k: int) -> list[tuple[str, float]]:
    """By score, then by item; scores that differ by rounding alone count as equal."""
    return sorted(scores.items(), key=lambda pair: (-round(pair[1], 5), pair[0]))[:k]
