"""Drift of vectors: against slow oracles, and whether a planted change is found while chance is not."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from convergence.errors import SearchError
from convergence.search import drift
from convergence.search.drift import centroid_shift, neighbour_overlap

Vectors = NDArray[np.float32]


def units(random: np.random.Generator, count: int, *, towards: int = 0, spread: float = 1.0, size: int = 16) -> Vectors:
    """Vectors of length one around an axis."""
    vectors = random.normal(scale=spread, size=(count, size))
    vectors[:, towards] += 2
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def slow_shift(reference: Vectors, current: Vectors) -> float:
    a, b = (np.array([sum(row[i] for row in side) / len(side) for i in range(side.shape[1])])
            for side in (reference.astype(float), current.astype(float)))  # fmt: skip
    return 1 - float(a @ b) / float(np.sqrt(a @ a) * np.sqrt(b @ b))


def slow_overlap(reference: Vectors, current: Vectors, k: int) -> float:
    pooled = [(row, False) for row in reference.astype(float)] + [(row, True) for row in current.astype(float)]
    found = []
    for n, (row, mine) in enumerate(pooled):
        if mine:
            others = [one for m, one in enumerate(pooled) if m != n]
            others.sort(key=lambda one: -float(one[0] @ row))
            found += [not theirs for _, theirs in others[:k]]
    return (sum(found) / len(found)) / (len(reference) / (len(pooled) - 1))


@settings(max_examples=25, deadline=None)
@given(m=st.integers(2, 40), n=st.integers(2, 25), k=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_both_effects_are_those_of_the_definitions(m: int, n: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    reference, current = units(random, m), units(random, n, towards=seed % 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift, "DRAWS", 50)
        shift, overlap = centroid_shift(reference, current), neighbour_overlap(reference, current, k=k)
    assert shift.value == pytest.approx(slow_shift(reference, current), abs=1e-5)
    assert overlap.value == pytest.approx(slow_overlap(reference, current, k), rel=1e-6)


def test_neighbours_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    reference, current = units(random, 90), units(random, 40)
    whole = neighbour_overlap(reference, current)
    monkeypatch.setattr(drift, "_ROWS", 7)
    assert neighbour_overlap(reference, current) == whole


def test_the_limits_are_quantiles_of_all_splits() -> None:
    random = np.random.default_rng(1)
    pooled = units(random, 10)
    every = [(np.delete(pooled, list(chosen), axis=0), pooled[list(chosen)]) for chosen in combinations(range(10), 4)]
    shifts = [slow_shift(*split) for split in every]
    overlaps = [slow_overlap(*split, 3) for split in every]
    assert centroid_shift(*every[0], level=0.2).limit == pytest.approx(np.quantile(shifts, 0.8), rel=0.1)
    assert neighbour_overlap(*every[0], k=3, level=0.2).limit == pytest.approx(np.quantile(overlaps, 0.2), abs=0.1)


@pytest.mark.parametrize("sizes", [(100, 15), (600, 200)], ids=str)
def test_random_splits_are_beyond_their_limits_as_often_as_the_level_says(
    sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "DRAWS", 200)
    random, beyond = np.random.default_rng(2), 0
    for _ in range(40):
        reference, current = (units(random, size) for size in sizes)
        shift, overlap = (one(reference, current, level=0.05) for one in (centroid_shift, neighbour_overlap))
        beyond += (shift.value > shift.limit) + (overlap.value < overlap.limit)
    assert beyond <= 12  # of 80 at a level of 0.05: more has a probability below 0.001


def test_a_planted_shift_is_found_by_both() -> None:
    random = np.random.default_rng(3)
    reference = units(random, 300)
    current = units(random, 60)
    current[:, 1] += 0.5
    current /= np.linalg.norm(current, axis=1, keepdims=True)
    shift, overlap = centroid_shift(reference, current), neighbour_overlap(reference, current)
    assert shift.value > 2 * shift.limit
    assert overlap.value < overlap.limit


def test_a_change_that_leaves_the_centre_is_found_by_neighbours_alone() -> None:
    random = np.random.default_rng(4)
    reference, current = units(random, 300, spread=0.2), units(random, 60, spread=0.2)
    current[::2, 1] += 0.6
    current[1::2, 1] -= 0.6
    current /= np.linalg.norm(current, axis=1, keepdims=True)
    overlap = neighbour_overlap(reference, current)
    assert centroid_shift(reference, current).value < 0.02
    assert overlap.value < 0.5 * overlap.limit


def test_apart_is_zero_and_equal_samples_are_no_drift() -> None:
    random = np.random.default_rng(5)
    one, other = units(random, 50, towards=0, spread=0.05), units(random, 30, towards=1, spread=0.05)
    assert neighbour_overlap(one, other).value == 0
    assert centroid_shift(one, other).value > 0.9
    assert centroid_shift(one, one).value == pytest.approx(0, abs=1e-6)
    assert neighbour_overlap(one, one).value > 1  # each finds itself on the other side first


def test_many_vectors_are_sampled_by_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "MOST", 60)
    random = np.random.default_rng(6)
    reference, current = units(random, 500), units(random, 200)
    assert neighbour_overlap(reference, current) == neighbour_overlap(reference, current)
    assert neighbour_overlap(reference, current) != neighbour_overlap(reference, current, seed=1)
    found = centroid_shift(reference, current)
    assert found.value < found.limit


@pytest.mark.parametrize(("m", "n"), [(1, 5), (5, 0)])
def test_too_few_vectors_are_refused(m: int, n: int) -> None:
    random = np.random.default_rng(7)
    with pytest.raises(SearchError, match="two or more on each side"):
        centroid_shift(units(random, m), units(random, n))


def test_vectors_of_different_encoders_are_refused() -> None:
    random = np.random.default_rng(8)
    with pytest.raises(SearchError, match="of one length"):
        neighbour_overlap(units(random, 5), units(random, 5, size=8))
