"""Groups of people compared: a gap is judged by its interval, and a small group by what it can show."""

import numpy as np
import polars as pl
import pytest

from convergence.errors import ConvergenceError
from convergence.models import fairness

LIMITS = dict.fromkeys(fairness.MEASURES, 0.1) | {"roc_auc": 0.05, "calibration": 0.05}


def split(*, worse: float = 0.0, more: float = 0.0, n: int = 6000) -> pl.DataFrame:
    """Two groups of equal people; the score of the second is noisier, and more of it are selected."""
    draw = np.random.default_rng(0)
    group = np.where(np.arange(n) % 2 == 0, "a", "b")
    label = draw.random(n) < 0.3
    score = 1 / (1 + np.exp(-(2.0 * label - 1.5 + draw.normal(0, 1 + worse * (group == "b")))))
    selected = score > np.where(group == "b", 0.5 - more, 0.5)
    return fairness.measured(label, score, {"group": group.tolist()}, selected=selected, limits=LIMITS, repetitions=60)


def gap(rows: pl.DataFrame, measure: str) -> dict:
    return rows.filter(group=fairness.GAP, measure=measure).row(0, named=True)


def test_equal_treatment_is_within_every_limit() -> None:
    assert split().filter(group="gap")["verdict"].unique().to_list() == ["within"]


def test_a_group_that_is_ranked_worse_exceeds_the_limit() -> None:
    assert gap(split(worse=2.0), "roc_auc")["verdict"] == "exceeded"


def test_a_group_that_is_selected_more_often_has_another_rate_and_the_same_ranking() -> None:
    rows = split(more=0.3)
    assert gap(rows, "true_positive_rate")["verdict"] == "exceeded"
    assert gap(rows, "selection_rate")["verdict"] == "exceeded"
    assert gap(rows, "roc_auc")["verdict"] == "within"


def test_few_people_are_neither_accused_nor_acquitted() -> None:
    found = gap(split(worse=0.8, n=120), "roc_auc")
    assert found["low"] < LIMITS["roc_auc"] < found["high"]
    assert found["verdict"] == "watched"


def test_a_gap_is_the_difference_of_the_two_groups_furthest_apart() -> None:
    rows = split(more=0.2)
    by = {(g, m): v for g, m, v in rows.select("group", "measure", "value").iter_rows()}
    for measure in LIMITS:
        assert by["gap", measure] == pytest.approx(abs(by["a", measure] - by["b", measure]))


def test_the_rates_are_plain_shares() -> None:
    label, selected = np.array([1, 1, 0, 0, 1, 0, 0, 0], bool), np.array([1, 0, 1, 0, 1, 1, 0, 0], bool)
    rows = fairness.measured(
        label, np.linspace(0.9, 0.1, 8), {"g": list("aaaabbbb")}, selected=selected, limits=LIMITS, repetitions=5
    )
    by = {(g, m): v for g, m, v in rows.select("group", "measure", "value").iter_rows()}
    assert by["a", "true_positive_rate"] == 0.5
    assert by["b", "true_positive_rate"] == 1.0
    assert by["a", "false_positive_rate"] == 0.5
    assert by["b", "false_positive_rate"] == pytest.approx(1 / 3)
    assert by["a", "selection_rate"] == by["b", "selection_rate"] == 0.5


def test_a_group_with_one_class_is_refused() -> None:
    label = np.array([True, True, False, True])
    with pytest.raises(ConvergenceError, match="expected both classes"):
        fairness.measured(label, np.full(4, 0.5), {"g": ["a", "a", "b", "b"]}, selected=label, limits=LIMITS)


def test_one_group_or_a_measure_without_limit_is_refused() -> None:
    label = np.array([True, False])
    with pytest.raises(ConvergenceError, match="at least two"):
        fairness.measured(label, np.full(2, 0.5), {"g": ["a", "a"]}, selected=label, limits=LIMITS)
    with pytest.raises(ConvergenceError, match="no limit"):
        fairness.measured(label, np.full(2, 0.5), {"g": ["a", "b"]}, selected=label, limits={})
