import json
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import SearchError
from convergence.search.fusion import Fusion

numbers = st.floats(-1e6, 1e6)
weights = st.floats(0, 10)
scales = st.tuples(st.floats(-100, 100), st.floats(0.01, 100))
fusions = st.builds(
    Fusion, weights.map(lambda w: w + 0.01), weights, scales, scales, st.tuples(st.floats(0, 50), st.floats(-50, 50))
)
lists = st.dictionaries(st.sampled_from([f"item-{n}" for n in range(12)]), st.floats(-10, 50), max_size=8)
PLAIN = Fusion(1.0, 0.5, (0.0, 1.0), (0.0, 2.0), (1.0, 0.0))


@given(fusions, lists, lists)
def test_every_item_of_either_list_is_ranked_once_by_the_weighted_sum_of_its_scaled_scores(
    fusion: Fusion, dense: dict[str, float], sparse: dict[str, float]
) -> None:
    ranked = fusion.fused(dense, sparse)
    expected = {}
    for item in {*dense, *sparse}:
        near = dense[item] if item in dense else min(dense.values()) if dense else 0.0
        said = sparse[item] if item in sparse else min(sparse.values()) if sparse else 0.0
        parts = [(near - fusion.dense_scale[0]) / fusion.dense_scale[1] * fusion.dense_weight]
        parts += [(said - fusion.sparse_scale[0]) / fusion.sparse_scale[1] * fusion.sparse_weight]
        expected[item] = sum(parts)
    assert {one.item_id: one.score for one in ranked} == pytest.approx(expected)
    assert len(ranked) == len(expected)
    assert [(one.dense, one.sparse) for one in ranked] == [
        (dense.get(o.item_id), sparse.get(o.item_id)) for o in ranked
    ]


@given(fusions, lists, lists)
def test_the_order_is_total_and_does_not_depend_on_the_order_of_the_lists(
    fusion: Fusion, dense: dict[str, float], sparse: dict[str, float]
) -> None:
    turned = [dict(reversed(part.items())) for part in (dense, sparse)]
    ranked = fusion.fused(dense, sparse)
    assert fusion.fused(*turned) == ranked
    assert [(-one.score, one.item_id) for one in ranked] == sorted((-one.score, one.item_id) for one in ranked)


@given(fusions, numbers, numbers)
def test_relevance_is_a_probability_that_never_falls_as_the_score_rises(fusion: Fusion, a: float, b: float) -> None:
    low, high = (fusion.relevance(score) for score in sorted((a, b)))
    assert 0 <= low <= high <= 1


@given(fusions)
def test_a_fusion_survives_json(fusion: Fusion) -> None:
    assert Fusion.from_json(json.loads(json.dumps(fusion.as_json()))) == fusion


def test_with_no_weight_on_one_part_the_other_part_decides_alone() -> None:
    dense, sparse = {"a": 0.9, "b": 0.8, "c": 0.1}, {"c": 30.0, "b": 2.0}
    ranked = Fusion(1.0, 0.0, (0.5, 0.2), (3.0, 1.0), (1.0, 0.0)).fused(dense, sparse)
    assert [one.item_id for one in ranked] == ["a", "b", "c"]


def test_an_item_that_a_list_does_not_have_counts_as_the_last_of_that_list() -> None:
    scores = {one.item_id: one.score for one in PLAIN.fused({"a": 1.0}, {"b": 8.0, "c": 4.0})}
    assert scores == {"a": 1.0 + 0.5 * 4 / 2, "b": 1.0 + 0.5 * 8 / 2, "c": 1.0 + 0.5 * 4 / 2}


def test_equal_scores_are_ordered_by_item() -> None:
    assert [one.item_id for one in PLAIN.fused({"b": 1.0, "a": 1.0, "c": 1.0}, None)] == ["a", "b", "c"]


def test_a_part_that_was_not_asked_adds_nothing_while_one_that_found_nothing_counts_as_zero() -> None:
    fusion = Fusion(1.0, 1.0, (0.0, 1.0), (4.0, 2.0), (1.0, 0.0))
    assert fusion.fused({"a": 1.0}, None)[0].score == 1.0
    assert fusion.fused({"a": 1.0}, {})[0].score == 1.0 - 4.0 / 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"dense_weight": -0.1},
        {"dense_weight": 0.0, "sparse_weight": 0.0},
        {"sparse_weight": nan},
        {"dense_scale": (0.0, 0.0)},
        {"sparse_scale": (inf, 1.0)},
        {"calibration": (-1.0, 0.0)},
        {"calibration": (1.0,)},
        {"dense_scale": None},
        {"dense_weight": "much"},
    ],
    ids=str,
)
def test_numbers_that_cannot_fuse_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(SearchError, match="learn it anew"):
        Fusion.from_json({**PLAIN.as_json(), **change})
