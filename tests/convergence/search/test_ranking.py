"""Fusion as it is learned: what a search would rank, and a share only where every judged set is sure to gain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import ModelError
from convergence.search.fusion import Fusion
from convergence.search.ranking import Judged, _sure, fused, learn

RANDOM = np.random.default_rng(0)
ITEMS = 40


def judged(dense: float, sparse: float, queries: int = 150, seed: int = 0) -> Judged:
    """Queries with one right item each, which either ranking lifts by so many standard deviations."""
    random = np.random.default_rng(seed)
    right = random.integers(0, ITEMS, queries)
    scores = []
    for lift in (dense, sparse):
        rows = random.normal(size=(queries, ITEMS))
        rows[np.arange(queries), right] += lift
        scores.append(rows - rows.min() + 0.01)
    return Judged(scores[0], scores[1], [[int(i)] for i in right], [[] for _ in right])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.0, 1.0), st.integers(1, ITEMS + 5))
def test_fused_scores_are_those_of_a_search_over_the_same_lists(seed: int, share: float, pool: int) -> None:
    random = np.random.default_rng(seed)
    dense, sparse = random.normal(size=(1, ITEMS)), np.maximum(random.normal(size=(1, ITEMS)), 0)
    fusion = Fusion(1 - share, share, (0.1, 0.5), (0.3, 0.4), (1.0, 0.0))
    found = fused(Judged(dense, sparse, [[0]], [[3]]), fusion, pool)[0]
    lists = []
    for scores in (dense[0], np.where(sparse[0] > 0, sparse[0], -np.inf)):
        best = sorted((i for i in range(ITEMS) if i != 3 and scores[i] > -np.inf), key=lambda i: -scores[i])[:pool]
        lists.append({str(i): float(scores[i]) for i in best})
    slow = {int(one.item_id): one.score for one in fusion.fused(*lists)}
    assert {i for i in range(ITEMS) if np.isfinite(found[i])} == set(slow)
    assert {i: found[i] for i in slow} == pytest.approx(slow)


def test_two_rankings_that_know_different_things_are_fused() -> None:
    fusion, shares = learn({"one": judged(1.5, 1.5)})
    assert 0.2 < fusion.sparse_weight < 0.8
    chosen = f"{fusion.sparse_weight:.2f}"
    assert shares[chosen]["one"] > max(shares["0.00"]["one"], shares["1.00"]["one"])


def test_a_ranking_that_knows_nothing_gets_no_share() -> None:
    fusion, _ = learn({"one": judged(2.0, 0.0)})
    assert (fusion.dense_weight, fusion.sparse_weight) == (1.0, 0.0)
    fusion, _ = learn({"one": judged(0.0, 2.0)})
    assert (fusion.dense_weight, fusion.sparse_weight) == (0.0, 1.0)


def test_a_set_that_would_lose_keeps_another_from_its_gain() -> None:
    gains, loses = judged(1.5, 1.5), judged(2.5, 0.0, seed=1)
    alone, _ = learn({"gains": gains})
    both, shares = learn({"gains": gains, "loses": loses})
    assert both.sparse_weight < alone.sparse_weight
    chosen = shares[f"{both.sparse_weight:.2f}"]
    assert chosen["loses"] >= shares["0.00"]["loses"]


def test_relevance_rises_with_the_score_and_is_about_as_often_right() -> None:
    world = judged(2.0, 2.0, queries=300)
    fusion, _ = learn({"one": world})
    scores = fused(world, fusion)
    right = np.zeros_like(scores, dtype=bool)
    right[np.arange(300), [r[0] for r in world.relevant]] = True
    told = np.vectorize(fusion.relevance)(scores[np.isfinite(scores)])
    assert fusion.calibration[0] > 0
    assert told.mean() == pytest.approx(right[np.isfinite(scores)].mean(), rel=0.05)


def test_without_judged_queries_nothing_can_be_learned() -> None:
    with pytest.raises(ModelError, match="no judged queries"):
        learn({})


def test_queries_of_one_cluster_count_as_one() -> None:
    gains = np.r_[np.full(50, 0.1), -np.full(50, 0.05)]
    assert _sure(gains, None)
    assert not _sure(gains, ["a"] * 50 + ["b"] * 50)
