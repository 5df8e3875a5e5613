"""Places of right answers, the measures that follow from them, and their intervals."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ModelError
from convergence.search.judgements import interval, measured, paired, places, ranks

SCORES = st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=6, max_size=6), min_size=1, max_size=4)


def slow_places(row: list[float], right: list[int], without: list[int]) -> list[int]:
    order = sorted((i for i in range(len(row)) if i not in without), key=lambda i: (-row[i], i))
    return sorted(order.index(i) + 1 for i in right if i not in without)


@given(SCORES, st.sets(st.integers(0, 5), min_size=2), st.sets(st.integers(0, 5), max_size=1))
def test_places_are_those_of_sorting_all_candidates(rows: list[list[float]], right: set[int], out: set[int]) -> None:
    found = places(np.array(rows), [sorted(right)] * len(rows), [sorted(out)] * len(rows))
    assert [list(at) for at in found] == [slow_places(row, sorted(right), sorted(out)) for row in rows]


def test_measures_are_those_of_their_definitions() -> None:
    one, two = measured([np.array([3]), np.array([1, 12])]).iter_rows(named=True)
    assert one == pytest.approx(
        {"mrr": 1 / 3, "ndcg_10": 1 / log2(4), "recall_1": 0.0, "recall_5": 1.0, "recall_10": 1.0}
    )
    best = 1 / log2(2) + 1 / log2(3)
    assert two == pytest.approx({"mrr": 1.0, "ndcg_10": 1 / best, "recall_1": 1.0, "recall_5": 0.5, "recall_10": 0.5})


def test_a_query_without_a_right_answer_among_its_candidates_is_refused() -> None:
    with pytest.raises(ModelError, match="no right answer"):
        places(np.zeros((1, 3)), [[1]], [[1]])


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ModelError, match="1 scores are not numbers"):
        places(np.array([[0.0, np.nan]]), [[0]])


def test_an_interval_draws_whole_clusters() -> None:
    random = np.random.default_rng(1)
    alike = np.repeat(random.integers(0, 2, 40), 5).astype(float)
    mean, low, high = interval(alike, clusters=[str(i // 5) for i in range(200)])
    _, low_apart, high_apart = interval(alike)
    assert mean == pytest.approx(alike.mean())
    assert low < mean < high
    assert high - low > 1.5 * (high_apart - low_apart)


def test_a_rank_counts_every_equal_score_before_its_item() -> None:
    assert ranks(np.array([[0.5, 0.5, 0.1], [0.2, 0.9, 0.3]]), np.array([0, 1])).tolist() == [1, 0]


def test_one_great_cluster_makes_a_gain_no_surer() -> None:
    gains = np.r_[np.full(100, -0.1), np.zeros(50)]
    mean, error = paired(gains, ["great"] * 100 + [str(n) for n in range(50)])
    assert mean == pytest.approx(-0.1 * 100 / 150)
    assert error is not None
    assert error > 0.02


def test_a_gain_of_queries_that_are_each_alone_has_the_usual_error() -> None:
    gains = np.random.default_rng(0).normal(size=40)
    assert paired(gains) == pytest.approx((gains.mean(), gains.std(ddof=1) / np.sqrt(40)))
    assert paired(gains, ["a"] * 40) == (pytest.approx(gains.mean()), None)
