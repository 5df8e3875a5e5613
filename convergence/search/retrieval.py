"""How well vectors are found by queries: ranks, recall, and intervals that take whole items, not queries, as drawn."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Recall:
    """Share of queries whose item is among the first `at`, with a 95 % interval from a bootstrap over items."""

    at: int
    value: float
    low: float
    high: float


def ranks(scores: NDArray[np.floating], wanted: NDArray[np.integer]) -> NDArray[np.intp]:
    """The rank of each query's item, from 0; among equals it is the last.

    Args:
        scores: (m, n), of n items for m queries.
        wanted: (m,), the item of each query.
    """
    own = scores[np.arange(len(scores)), wanted][:, None]
    return (scores >= own).sum(axis=1) - 1


def recalls(
    found: NDArray[np.integer], wanted: NDArray[np.integer], *, at: Sequence[int] = (1, 5, 10), draws: int = 1000
) -> list[Recall]:
    """Recall of ranks that `ranks` gave, `wanted` as there; the draws are of a fixed seed."""
    items, position = np.unique(wanted, return_inverse=True)
    counts = np.bincount(position)
    drawn = np.random.default_rng(0).multinomial(len(items), np.full(len(items), 1 / len(items)), size=draws)
    hits = {k: np.bincount(position, weights=found < k) for k in at}
    spread = {k: np.quantile(drawn @ hits[k] / (drawn @ counts), [0.025, 0.975]) for k in at}
    return [Recall(k, float((found < k).mean()), float(spread[k][0]), float(spread[k][1])) for k in at]
