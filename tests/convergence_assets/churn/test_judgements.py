"""What churn's models are worth: cross-validation, fairness, and the campaign that uses the scores."""

from datetime import date
from functools import cache

import dagster as dg
import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from asset_checks.fairness import judged as fairness_verdict
from convergence.errors import ConvergenceError, ModelError
from convergence.lake.contracts import schema_of
from convergence.models import fairness
from convergence.models.campaign import Assumptions
from convergence_assets.churn import campaign, cross_validation, inference
from convergence_assets.churn.arrivals import TOPIC
from convergence_assets.churn.fairness import FAULTS, LIMITS, by_group, gaps
from convergence_assets.churn.model_contracts import (
    CampaignTarget,
    ChurnCrossValidation,
    ChurnFairness,
    ChurnOutOfFold,
)
from resources.environments import Settings
from tests.convergence_assets.churn.frames import AS_OF, WEEK, model_of, of_published, world

BUDGET = 200.0
DAYS = [AS_OF, date(2024, 3, 19)]


@cache
def out_of_fold() -> pl.DataFrame:
    features, labels = world()
    return cross_validation.out_of_fold(features.gather_every(3), labels, repeats=2)


def champions(as_of: date = AS_OF) -> pl.DataFrame:
    served = {name: model_of(as_of)[name] for name in ("model_version", "sha256", "onnx", "model")}
    return pl.DataFrame([{"event_date": day, "model_as_of": as_of, "release": None, **served} for day in DAYS])


@cache
def issued() -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = world()[0].filter(pl.col("event_date").is_in(DAYS))
    return rows, inference.score(rows, champions())


@cache
def listed() -> pl.DataFrame:
    return campaign.target_rows(*issued(), champions(), Assumptions(), BUDGET)


# Cross-validation


def test_every_customer_is_scored_once_in_each_repetition() -> None:
    scores = out_of_fold()
    ChurnOutOfFold.validate(scores, lazy=True)
    for _, part in scores.group_by("repeat"):
        assert sorted(part["customer_id"]) == sorted(world()[0].gather_every(3)["customer_id"])
        assert part["fold"].n_unique() == 5


def test_the_figures_are_those_of_scikit_learn() -> None:
    rows = cross_validation.judged(out_of_fold())
    ChurnCrossValidation.validate(rows, lazy=True)
    assert rows.height == 2 * (5 + 1)
    part = out_of_fold().filter(repeat=1, fold=3)
    row = rows.filter(pl.col("repeat") == 1, pl.col("fold") == 3).row(0, named=True)
    assert row["roc_auc"] == pytest.approx(roc_auc_score(part["churned"], part["score"]))
    assert row["baseline_roc_auc"] == pytest.approx(roc_auc_score(part["churned"], part["baseline_score"]))
    found = cross_validation.figures(rows)
    assert found["roc_auc"] == pytest.approx(rows.filter(pl.col("fold").is_not_null())["roc_auc"].to_numpy().mean())
    assert "logistic regression" in found["figures"].value


def test_no_published_column_of_the_baseline_is_the_label() -> None:
    plain = cross_validation.one_hot(world()[0])
    assert plain.shape == (2800, 3 + 12 + 2 + 2 + 3 + 1)
    assert np.isfinite(plain).all()


@pytest.mark.parametrize(
    ("figures", "passed", "severity"),
    [
        ((0.85, 0.133, 0.015), True, None),
        ((0.84, 0.133, 0.015), False, dg.AssetCheckSeverity.WARN),
        ((0.85, 0.133, 0.025), False, dg.AssetCheckSeverity.WARN),
        ((0.88, 0.110, 0.015), False, dg.AssetCheckSeverity.ERROR),
    ],
    ids=["reached", "auc", "calibration", "leak"],
)
def test_a_missed_goal_warns_and_a_leak_fails(figures, passed, severity) -> None:
    auc, brier, error = figures
    rows = pl.DataFrame({"fold": [0, None], "roc_auc": auc, "brier": brier, "calibration_error": [0.04, error]})
    found = cross_validation.reached(rows)
    assert found.passed == passed
    assert passed or found.severity == severity


def test_on_the_published_customers_the_level_of_others_is_reached_and_no_leak_in_sight() -> None:
    data = Settings().published_data  # raises where CONVERGENCE_DATA names what is not there
    if data is None:
        pytest.skip("no published data on this machine: set CONVERGENCE_DATA to their folder")
    published, origin = TOPIC.history(data)
    assert origin.startswith("published"), f"{data} holds no published customers: correct CONVERGENCE_DATA"
    scores = cross_validation.out_of_fold(*of_published(published.drop("event_time").collect()), repeats=1)
    rows = cross_validation.judged(scores)
    found = cross_validation.reached(rows)
    assert found.passed, found.description
    assert cross_validation.figures(rows)["baseline_roc_auc"] < cross_validation.figures(rows)["roc_auc"]


# Fairness


def test_groups_and_gaps_of_both_attributes_are_measured() -> None:
    rows = by_group(out_of_fold())
    ChurnFairness.validate(rows, lazy=True)
    assert rows.height == 2 * len(LIMITS) * 3
    assert gaps(rows).keys() == {f"{a}_{m}_gap" for a in ("gender", "age") for m in LIMITS}
    assert (rows["low"] <= rows["high"]).all()


def split(*, worse: float = 0.0, more: float = 0.0, n: int = 3000) -> pl.DataFrame:
    """Two groups of equal people; the score of the second is noisier, and more of it are selected."""
    draw = np.random.default_rng(0)
    group = np.where(np.arange(n) % 2 == 0, "a", "b")
    label = draw.random(n) < 0.3
    score = 1 / (1 + np.exp(-(2.0 * label - 1.5 + draw.normal(0, 1 + worse * (group == "b")))))
    cut = np.where(group == "b", 0.5 - more, 0.5)
    return fairness.measured(label, score, {"group": group.tolist()}, selected=score > cut, limits=LIMITS)


def test_equal_treatment_is_within_every_limit() -> None:
    rows = split()
    assert rows.filter(group="gap")["verdict"].unique().to_list() == ["within"]
    assert fairness_verdict(rows, FAULTS, "next").passed


def test_a_group_that_is_ranked_worse_fails() -> None:
    found = fairness_verdict(split(worse=2.0), FAULTS, "next")
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.ERROR
    assert "roc_auc differs" in (found.description or "")


def test_a_group_that_is_selected_more_often_warns_with_what_to_do() -> None:
    found = fairness_verdict(split(more=0.3).filter(pl.col("measure") != "calibration"), FAULTS, "Decide.")
    assert not found.passed
    assert found.severity == dg.AssetCheckSeverity.WARN
    assert "true_positive_rate differs" in (found.description or "")
    assert (found.description or "").endswith("Decide.")


def test_few_people_are_neither_accused_nor_acquitted() -> None:
    gap = split(worse=0.8, n=120).filter(group="gap", measure="roc_auc").row(0, named=True)
    assert gap["low"] < LIMITS["roc_auc"] < gap["high"]
    assert gap["verdict"] == "watched"


def test_nothing_compared_fails() -> None:
    assert fairness_verdict(split().head(0), FAULTS, "next").severity == dg.AssetCheckSeverity.ERROR


def test_a_gap_is_the_difference_of_the_two_groups_furthest_apart() -> None:
    rows = split(more=0.2)
    by = {(g, m): v for g, m, v in rows.select("group", "measure", "value").iter_rows()}
    for measure in LIMITS:
        assert by["gap", measure] == pytest.approx(abs(by["a", measure] - by["b", measure]))


def test_a_group_with_one_class_is_refused() -> None:
    label = np.array([True, True, False, True])
    with pytest.raises(ConvergenceError, match="expected both classes"):
        fairness.measured(label, np.full(4, 0.5), {"g": ["a", "a", "b", "b"]}, selected=label, limits=LIMITS)


# Campaign


def test_a_list_keeps_its_contract_and_its_budget() -> None:
    CampaignTarget.validate(listed(), lazy=True)
    by_day = listed().group_by("event_date").agg(pl.col("cost").sum(), pl.len())
    assert by_day.height == len(DAYS)
    assert (by_day["cost"] <= BUDGET).all()
    assert (by_day["len"] >= 3).all()
    assert campaign.list_figures(listed())["targets"] == listed().height


def test_a_list_is_ranked_by_expected_gain_and_says_why() -> None:
    for _, day in listed().group_by("event_date", maintain_order=True):
        assert day["place"].to_list() == list(range(1, day.height + 1))
        assert day["expected_gain"].is_sorted(descending=True)
    assert listed()["reasons"].str.starts_with("1. ").all()
    assert listed()["reasons"].str.contains("log odds").all()


def test_who_is_left_out_would_not_fit_in_where_somebody_worth_less_is() -> None:
    rows, scores = issued()
    priced = rows.join(scores.select("customer_id", "score"), on="customer_id").filter(pl.col("event_date") == AS_OF)
    gain = Assumptions().gain(priced["score"], priced["monthly_charges"])
    cost = Assumptions().most(priced["monthly_charges"])
    inside = priced["customer_id"].is_in(listed()["customer_id"].to_list()).to_numpy()
    room = BUDGET - cost[inside].sum()
    for out in np.flatnonzero(~inside & (gain > 0)):
        for member in np.flatnonzero(inside):
            assert not (gain[member] < gain[out] - 1e-9 and cost[out] <= cost[member] + room - 1e-9)


def test_an_offer_that_brings_nothing_is_made_to_nobody() -> None:
    found = campaign.target_rows(*issued(), champions(), Assumptions(success_rate=0.0), BUDGET)
    assert found.is_empty()
    assert found.schema == schema_of(CampaignTarget)


def test_scores_of_another_model_are_refused() -> None:
    with pytest.raises(ModelError, match="materialize churn/churn_scores"):
        campaign.target_rows(*issued(), champions(AS_OF - WEEK), Assumptions(), BUDGET)


def test_each_day_shows_what_its_assumptions_decide() -> None:
    found = campaign.sensitivities(*issued(), Assumptions(), BUDGET)
    assert found.keys() == {str(day) for day in DAYS}
    assert "success_rate" in found[str(AS_OF)]["sensitivity"].value
