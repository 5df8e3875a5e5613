"""Whether new vectors lie where those before them lay: where their centre is, and whether the two are well mixed.

Both effects come with what chance alone makes of them at these sizes, by dealing the pooled vectors out at random. So
no distribution is assumed, and fifteen images are held to another limit than six hundred functions.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convergence.errors import SearchError

MOST = 1000  # vectors of a side; more are sampled, for the work grows with their square
DRAWS = 2000  # random splits that tell what chance makes of an effect
LEVEL = 0.01  # share of the random splits that lie beyond the limit
_ROWS = 512  # that are compared with all others at a time
_SPLITS = 50  # that are counted at a time

Vectors = NDArray[np.float32]
Statistics = Callable[[NDArray[np.bool_]], NDArray[np.float64]]  # of splits (s, n), true where a row is current


class Effect(NamedTuple):
    """How far two samples are apart, and how far chance alone takes samples of these sizes in one of `1 / level`."""

    value: float
    limit: float


def centroid_shift(reference: Vectors, current: Vectors, *, level: float = LEVEL, seed: int = 0) -> Effect:
    """1 - cosine between the centres of two samples: 0 where they lie in one direction, 1 at a right angle.

    Args:
        reference: (m, d), rows of length one.
        current: (n, d).
        level: the share of random splits of the pooled vectors whose shift is above `limit`.
        seed: of the sample and of the splits.

    Raises:
        SearchError: a side has fewer than two vectors, or they are of different lengths.
    """
    pooled, there = _pooled(reference, current, seed)
    whole = pooled.sum(axis=0)

    def shifts(splits: NDArray[np.bool_]) -> NDArray[np.float64]:
        mine = splits.astype(np.float32) @ pooled
        rest = whole - mine
        lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(rest, axis=1)
        return 1 - (mine * rest).sum(axis=1, dtype=np.float64) / np.maximum(lengths, np.finfo(np.float32).tiny)

    return _effect(shifts, there, 1 - level, seed)


def neighbour_overlap(
    reference: Vectors, current: Vectors, *, k: int = 10, level: float = LEVEL, seed: int = 0
) -> Effect:
    """How well the current vectors are mixed with the reference: 1 as by chance, 0 where none has a neighbour there.

    Of the `k` nearest neighbours of each current vector among all others (cosine), the share that are of the reference,
    divided by its share of all others. The nearest-neighbour test of two samples (Schilling 1986, Henze 1988).

    Args:
        reference: (m, d), rows of length one.
        current: (n, d).
        k: neighbours; all others where there are fewer.
        level: the share of random splits of the pooled vectors whose overlap is below `limit`.
        seed: of the sample and of the splits.

    Raises:
        SearchError: a side has fewer than two vectors, or they are of different lengths.
    """
    pooled, there = _pooled(reference, current, seed)
    near = _neighbours(pooled, min(k, len(pooled) - 1))
    expected = (~there).sum() / (len(pooled) - 1)

    def overlaps(splits: NDArray[np.bool_]) -> NDArray[np.float64]:
        found = [(~split[near[split]]).mean() for split in splits]
        return np.array(found) / expected

    return _effect(overlaps, there, level, seed)


def _pooled(reference: Vectors, current: Vectors, seed: int) -> tuple[Vectors, NDArray[np.bool_]]:
    """Both samples in one array, and which of its rows are current."""
    if min(len(reference), len(current)) < 2 or reference.shape[1:] != current.shape[1:]:
        raise SearchError(
            f"vectors of shapes {reference.shape} and {current.shape} cannot be compared: expected two or more on each "
            "side, of one length; compare vectors of one encoder, over more days"
        )
    random = np.random.default_rng(seed)
    sides = [side if len(side) <= MOST else random.choice(side, MOST, replace=False) for side in (reference, current)]
    there = np.arange(sum(map(len, sides))) >= len(sides[0])
    mixed = random.permutation(len(there))  # or neighbours at equal distances would be those of one side
    return np.concatenate(sides).astype(np.float32)[mixed], there[mixed]


def _neighbours(pooled: Vectors, k: int) -> NDArray[np.intp]:
    """(n, k): the rows nearest to each row, itself excluded, in no order."""
    found = np.empty((len(pooled), k), np.intp)
    for first in range(0, len(pooled), _ROWS):
        near = pooled[first : first + _ROWS] @ pooled.T
        near[np.arange(len(near)), np.arange(first, first + len(near))] = -np.inf
        found[first : first + _ROWS] = np.argpartition(-near, k - 1, axis=1)[:, :k]
    return found


def _effect(statistics: Statistics, there: NDArray[np.bool_], quantile: float, seed: int) -> Effect:
    random, current = np.random.default_rng([seed, 1]), int(there.sum())
    chance = []
    for _ in range(0, DRAWS, _SPLITS):
        places = np.argpartition(random.random((_SPLITS, len(there))), current - 1, axis=1)[:, :current]
        splits = np.zeros((_SPLITS, len(there)), bool)
        np.put_along_axis(splits, places, True, axis=1)
        chance.append(statistics(splits))
    return Effect(float(statistics(there[None])[0]), float(np.quantile(np.concatenate(chance), quantile)))
