"""How good a ranking is, by queries whose right answers are known: reciprocal rank, nDCG and recall, with intervals.

Everything follows from the places of the right answers among all candidates, so that no measure is cut off but by its
own definition. Of equal scores the item that comes first in the corpus is ranked first.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ModelError

MEASURES = ("mrr", "ndcg_10", "recall_1", "recall_5", "recall_10")
_DEPTH = 10
_RESAMPLES = 2_000

Floats = NDArray[np.floating]


def places(
    scores: Floats, relevant: Sequence[Sequence[int]], without: Sequence[Sequence[int]] | None = None
) -> list[NDArray[np.int64]]:
    """The places, from 1, of each query's right answers, best first.

    Args:
        scores: (q, n), higher is better; every query against every item.
        relevant: columns of the right answers of each query, at least one.
        without: columns that are no candidates of a query, e.g. the query itself.

    Raises:
        ModelError: a score is no number, or a query has no right answer among its candidates.
    """
    if np.isnan(scores).any():
        raise ModelError(f"{int(np.isnan(scores).sum())} scores are not numbers; expected one for each query and item")
    found = []
    columns = np.arange(scores.shape[1])
    for row, wanted, left_out in zip(scores, relevant, without or [()] * len(relevant), strict=True):
        right = np.setdiff1d(np.asarray(wanted, np.int64), np.asarray(left_out, np.int64))
        if not right.size:
            raise ModelError("a judged query has no right answer in the corpus; leave it out, or add the item")
        candidates = np.ones(len(row), np.bool_)
        candidates[np.asarray(left_out, np.int64)] = False
        before = [((row > row[i]) | ((row == row[i]) & (columns < i)))[candidates].sum() for i in right]
        found.append(np.sort(np.asarray(before, np.int64)) + 1)
    return found


def ranks(scores: Floats, wanted: NDArray[np.integer]) -> NDArray[np.intp]:
    """The rank of each query's one item, from 0; among equals it is the last.

    Args:
        scores: (m, n), of n items for m queries.
        wanted: (m,), the item of each query.
    """
    own = scores[np.arange(len(scores)), wanted][:, None]
    return (scores >= own).sum(axis=1) - 1


def measured(found: Sequence[NDArray[np.int64]]) -> pl.DataFrame:
    """MEASURES of each query, from the places of its right answers, which all count as equally right.

    Recall@k is the share of a query's right answers, of which k can be found at most, among the first k: with one
    right answer it is whether it is there.
    """
    return pl.DataFrame([_of_one(at) for at in found], schema=dict.fromkeys(MEASURES, pl.Float64))


def _of_one(at: NDArray[np.int64]) -> dict[str, float]:
    best = (1 / np.log2(np.arange(1, min(len(at), _DEPTH) + 1) + 1)).sum()
    recalls = {f"recall_{k}": float((at <= k).sum() / min(len(at), k)) for k in (1, 5, 10)}
    return {"mrr": float(1 / at[0]), "ndcg_10": float((1 / np.log2(at[at <= _DEPTH] + 1)).sum() / best), **recalls}


def interval(values: Floats, *, seed: int = 0, clusters: Sequence[str] | None = None) -> tuple[float, float, float]:
    """Mean of a measure over queries, and its 95 % bootstrap interval.

    `clusters`: queries that belong together, such as the captions of one image, are drawn together.
    """
    of = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    names, where = np.unique(of, return_inverse=True)
    sums, sizes = np.bincount(where, values), np.bincount(where)
    drawn = np.random.default_rng(seed).integers(0, len(names), (_RESAMPLES, len(names)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def paired(gains: Floats, clusters: Sequence[str] | None = None) -> tuple[float, float | None]:
    """Mean of what one ranking has more than another on the same queries, and its standard error over clusters.

    The error is that of a ratio, the sum of gains by the number of queries; None where there is one cluster alone.
    """
    _, where = np.unique(np.arange(len(gains)) if clusters is None else np.asarray(clusters), return_inverse=True)
    sums, sizes, mean = np.bincount(where, gains), np.bincount(where), gains.mean()
    if len(sizes) < 2:
        return float(mean), None
    spread = (((sums - mean * sizes) ** 2).sum() * len(sizes) / (len(sizes) - 1)) ** 0.5
    return float(mean), float(spread / len(gains))
