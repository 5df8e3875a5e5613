"""How two rankings of one modality are fused: learned on judged queries, and taken only where it is sure to help.

A convex combination has one number to learn. It departs from the better ranking alone only as far as every judged set
gains by it, by more than its standard error: plain fusion loses where one ranking is much better than the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.search.fusion import POOL, Fusion
from convergence.search.judgements import measured, paired, places

SHARES = tuple(round(0.05 * n, 2) for n in range(21))  # of the sparse ranking
_LEARNED_BY = "mrr"

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Judged:
    """The scores of one judged set's queries against every item, and which items are right.

    `dense`, `sparse`: (q, n), items in the order of their ids; no word in common is 0. `relevant`, `without`: columns,
    by query; `without` are no candidates. `clusters`: queries that belong together; None: each is alone.
    """

    dense: Floats
    sparse: Floats
    relevant: Sequence[Sequence[int]]
    without: Sequence[Sequence[int]]
    clusters: Sequence[str] | None = None


def fused(judged: Judged, fusion: Fusion, pool: int = POOL) -> Floats:
    """(q, n) fused scores as a search gives them: of the best `pool` of each ranking; what is in neither is last."""
    queries, items = judged.dense.shape
    found = np.full((queries, items), -np.inf)
    parts = (
        (judged.dense, fusion.dense_weight, fusion.dense_scale, -np.inf),
        (judged.sparse, fusion.sparse_weight, fusion.sparse_scale, 0.0),
    )
    for q in range(queries):
        out = np.asarray(judged.without[q], np.int64)
        total, seen = np.zeros(items), np.zeros(items, np.bool_)
        for scores, weight, (mean, deviation), nothing in parts:
            row = np.array(scores[q], np.float64)
            row[out] = -np.inf
            listed = _best(row, pool, nothing)
            values = np.full(items, row[listed].min() if listed.size else 0.0)
            values[listed] = row[listed]
            total += weight * (values - mean) / deviation
            seen[listed] = True
        found[q, seen] = total[seen]
    return found


def learn(
    sets: Mapping[str, Judged], *, shares: Sequence[float] = SHARES
) -> tuple[Fusion, dict[str, dict[str, float]]]:
    """The fusion of one modality from its judged sets, and what each share of the sparse ranking gave on each set.

    A share is admitted if on no set it is worse than the set's better ranking, counting one standard error of the
    paired difference against it; of these the one with the greatest mean over the sets is taken. Where none is
    admitted, it is the ranking that is better on the mean.

    Raises:
        ModelError: no judged queries.
    """
    if not sets or not all(len(judged.dense) for judged in sets.values()):
        raise ModelError("no judged queries to learn a fusion from: expected at least one of each set")
    dense, sparse = _scale([j.dense for j in sets.values()]), _scale([j.sparse for j in sets.values()])

    def of(share: float) -> Fusion:
        return Fusion(1 - share, share, dense, sparse, (1.0, 0.0))

    by_query = {
        share: {name: measured(_places(judged, of(share)))[_LEARNED_BY].to_numpy() for name, judged in sets.items()}
        for share in shares
    }
    means = {share: {name: float(v.mean()) for name, v in found.items()} for share, found in by_query.items()}
    better = {name: max((0.0, 1.0), key=lambda share: means[share][name]) for name in sets}
    admitted = [
        share
        for share, found in by_query.items()
        if all(share == better[n] or _sure(found[n] - by_query[better[n]][n], sets[n].clusters) for n in sets)
    ]
    share = max(admitted or (0.0, 1.0), key=lambda one: np.mean(list(means[one].values())))
    chosen = of(share)
    return _calibrated(chosen, sets), {f"{share:.2f}": found for share, found in means.items()}


def _sure(gains: Floats, clusters: Sequence[str] | None) -> bool:
    """Whether the mean gain is above its standard error."""
    mean, error = paired(gains, clusters)
    return error is not None and mean > error


def _places(judged: Judged, fusion: Fusion) -> list[NDArray[np.int64]]:
    return places(fused(judged, fusion), judged.relevant, judged.without)


def _best(row: Floats, pool: int, above: float) -> NDArray[np.int64]:
    count = min(pool, len(row))
    found = np.argpartition(-row, count - 1)[:count] if count < len(row) else np.arange(len(row))
    return found[row[found] > above]


def _scale(scores: Sequence[Floats]) -> tuple[float, float]:
    """Mean and deviation of the best scores of each query: those that fusion sees."""
    best = np.concatenate([-np.sort(-s, axis=1)[:, : min(POOL, s.shape[1])].ravel() for s in scores])
    return float(best.mean()), float(best.std()) or 1.0


def _calibrated(fusion: Fusion, sets: Mapping[str, Judged]) -> Fusion:
    """The fusion with the log odds that an item of the pool is right, given its score: Platt's logistic fit."""
    from sklearn.linear_model import LogisticRegression

    scores, right = [], []
    for judged in sets.values():
        found = fused(judged, fusion)
        for row, relevant in zip(found, judged.relevant, strict=True):
            there = np.isfinite(row)
            is_right = np.isin(np.flatnonzero(there), relevant)
            scores.append(row[there])
            right.append(is_right)
    x, y = np.concatenate(scores), np.concatenate(right)
    if not 0 < y.sum() < len(y):
        return fusion
    fitted = LogisticRegression(C=1e6).fit(x[:, None], y)
    slope, intercept = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return Fusion(fusion.dense_weight, fusion.sparse_weight, fusion.dense_scale, fusion.sparse_scale,
                  (max(slope, 0.0), intercept))  # fmt: skip
