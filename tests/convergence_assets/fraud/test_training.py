"""A model knows what could be known on its date; the gate decides who serves."""

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from convergence.errors import ModelError
from convergence.models import ensemble, stored
from convergence.models.gated import decide, version
from convergence_assets._parts.cards import decision_card
from convergence_assets.fraud import training
from convergence_assets.fraud.contracts import FraudEvaluation, FraudModel
from convergence_assets.fraud.evaluation import TEST_WEEKS, evaluate, figures
from convergence_assets.fraud.feature_views import MODEL_INPUT
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.model_contracts import FraudPromotion
from convergence_assets.fraud.training import fit, fitted, model_card
from convergence_assets.fraud.use_case import MODEL
from tests.convergence_assets.fraud.worlds import at, world

AS_OF = date(2018, 7, 18)
WEEK = timedelta(days=7)


@pytest.fixture(autouse=True)
def few_rounds() -> Iterator[None]:
    """Trees enough to learn a small world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ROUNDS", 20)
        yield


@cache
def model_of(as_of: date) -> dict[str, Any]:
    return version(MODEL, fit, *world(), as_of, None)


def confused(as_of: date) -> dict[str, Any]:
    """A challenger that ranks honest customers first."""
    features, labels = world()
    rows = MODEL.known(features, labels, as_of).filter(pl.col("event_date") < as_of - 2 * WEEK)
    inverted = fitted(rows.with_columns(~pl.col("is_fraud")), training.in_use())
    onnx = inverted.served.to_onnx(MODEL_INPUT)
    return model_of(as_of) | {"onnx": onnx, "sha256": stored.digest(onnx), "model_version": "confused"}


# What is known on a date


@pytest.mark.parametrize("moment", [AS_OF, date(2018, 4, 8), date(2018, 4, 9), date(2018, 9, 7)])
def test_exactly_the_labels_known_at_the_start_of_the_date_are_given(moment: date) -> None:
    features, labels = world()
    known = MODEL.known(features, labels, moment)
    expected = labels.filter(pl.col("label_time") <= at(moment))
    assert sorted(known["transaction_id"]) == sorted(expected["transaction_id"])


def test_a_label_known_at_the_very_moment_counts_and_one_a_tick_later_does_not() -> None:
    features, labels = (frame.head(2) for frame in world())
    times = pl.Series([at(AS_OF), at(AS_OF) + timedelta(microseconds=1)]).cast(pl.Datetime("us", "UTC"))
    known = MODEL.known(features, labels.with_columns(label_time=times), AS_OF)
    assert known["transaction_id"].to_list() == labels["transaction_id"].head(1).to_list()


def test_known_labels_stand_beside_their_own_transaction() -> None:
    features, labels = world()
    known = MODEL.known(features, labels.sample(fraction=1, shuffle=True, seed=1), AS_OF)
    truth = labels.select("transaction_id", "is_fraud")
    joined = known.join(truth, on="transaction_id", suffix="_truth")
    assert joined["is_fraud"].to_list() == joined["is_fraud_truth"].to_list()


# Training


def test_a_model_row_keeps_its_contract_and_states_its_window() -> None:
    model = model_of(AS_OF)
    FraudModel.validate(pl.DataFrame([model]), lazy=True)
    first, last = AS_OF - timedelta(days=7 + 7 + MODEL.schedule.training_days), AS_OF - timedelta(days=15)
    assert (model["training_first_day"], model["training_last_day"]) == (first, last)
    _, labels = world()
    window = labels.filter(pl.col("event_date").is_between(first, last))
    assert (model["training_rows"], model["training_frauds"]) == (window.height, window["is_fraud"].sum())


def test_nothing_after_the_date_changes_the_model() -> None:
    features, labels = world()
    later, unknown = pl.col("event_time") >= at(AS_OF), pl.col("label_time") > at(AS_OF)
    noise = [pl.when(later).then(-1.0).otherwise(pl.col(name)).alias(name) for name in ("amount", "customer_mean_7d")]
    changed = labels.with_columns(is_fraud=pl.when(unknown).then(~pl.col("is_fraud")).otherwise("is_fraud"))
    assert version(MODEL, fit, features.with_columns(noise), changed, AS_OF, None) == model_of(AS_OF)
    assert version(MODEL, fit, features.filter(~later), labels.filter(~unknown), AS_OF, None) == model_of(AS_OF)


def test_the_gates_week_is_kept_from_the_fit() -> None:
    features, labels = world()
    gate = pl.col("event_date").is_between(AS_OF - 2 * WEEK, AS_OF - WEEK)
    flipped = labels.with_columns(is_fraud=pl.when(gate).then(~pl.col("is_fraud")).otherwise("is_fraud"))
    assert version(MODEL, fit, features, flipped, AS_OF, None)["onnx"] == model_of(AS_OF)["onnx"]


def test_a_label_within_the_window_does_change_the_model() -> None:
    features, labels = world()
    inside = pl.col("event_date") == AS_OF - 3 * WEEK
    flipped = labels.with_columns(is_fraud=pl.when(inside).then(~pl.col("is_fraud")).otherwise("is_fraud"))
    assert version(MODEL, fit, features, flipped, AS_OF, None)["model_version"] != model_of(AS_OF)["model_version"]


def test_equal_inputs_in_any_order_give_the_same_bytes() -> None:
    features, labels = (frame.sample(fraction=1, shuffle=True, seed=3) for frame in world())
    assert version(MODEL, fit, features, labels, AS_OF, None) == model_of(AS_OF)


def test_the_stored_model_is_opened_by_its_hash_and_takes_the_views_features() -> None:
    row = model_of(AS_OF)
    scorer = stored.load(row["onnx"], sha256=row["sha256"], features=MODEL_INPUT)
    assert row["model_version"] == f"{AS_OF}.{row['sha256'][:8]}"
    scores = scorer.score_rows(world()[0].tail(500))
    assert scores.is_between(0, 1).all()
    assert scores.n_unique() > 100


def test_the_report_says_what_is_served_and_why() -> None:
    report = json.loads(model_of(AS_OF)["report"])
    assert report["served"] in {"xgboost", "network", "linear", "stack"}
    assert [c["candidate"] for c in report["comparison"]] == ["xgboost", "network", "linear", "stack"]
    assert report["parity"] <= ensemble.PARITY
    assert report["parity_rows"] >= training.CHECKED_ROWS
    assert len(report["shap"]) == 10


def test_training_fails_when_its_onnx_graph_is_not_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    other = model_of(AS_OF + WEEK)["onnx"]
    monkeypatch.setattr(ensemble.Ensemble, "to_onnx", lambda *_: other)
    with pytest.raises(ModelError, match="differs from the trained model by"):
        version(MODEL, fit, *world(), AS_OF, None)


def test_the_model_card_names_version_window_candidates_and_reasons() -> None:
    card = model_card(pl.DataFrame([model_of(AS_OF)]))
    text = card["model_card"].value
    said = (model_of(AS_OF)["model_version"], "2018-04-11", "2018-07-03", "the stack", "| network |", "Calibration: ",
            "ONNX differs", "mean absolute SHAP value")  # fmt: skip
    assert [part for part in said if part not in text] == []
    assert card["training_rows"] == model_of(AS_OF)["training_rows"]
    assert card["alert_threshold"] == model_of(AS_OF)["alert_threshold"]


# The gate


def test_the_first_challenger_that_passes_becomes_champion() -> None:
    decision = decide(MODEL, model_of(AS_OF), None, *world())
    assert decision is not None
    FraudPromotion.validate(pl.DataFrame([decision]), lazy=True)
    assert (decision["promoted"], decision["model_version"]) == (True, model_of(AS_OF)["model_version"])
    assert (decision["valid_from"], decision["decided_at"]) == (AS_OF, at(AS_OF))


def test_a_first_challenger_that_is_refused_leaves_no_champion() -> None:
    assert decide(MODEL, confused(AS_OF), None, *world()) is None


def test_a_refused_challenger_leaves_the_champion_in_place() -> None:
    champion = decide(MODEL, model_of(AS_OF), None, *world())
    assert champion is not None
    decision = decide(MODEL, confused(AS_OF + WEEK), champion, *world())
    assert decision is not None
    FraudPromotion.validate(pl.DataFrame([decision]), lazy=True)
    assert (decision["promoted"], decision["valid_from"]) == (False, AS_OF + WEEK)
    served = ("model_version", "onnx", "sha256", "model", "alert_threshold")
    assert [decision[name] for name in served] == [champion[name] for name in served]
    assert decision["challenger_version"] == "confused"
    assert "is refused" in decision["reason"]
    assert decision_card(MODEL, pl.DataFrame([decision]))["champion"] == champion["model_version"]
    assert not all(rule["passed"] for rule in json.loads(decision["gate"]))


def test_the_gate_sees_nothing_after_its_date() -> None:
    features, labels = world()
    unknown = pl.col("label_time") > at(AS_OF)
    changed = labels.with_columns(is_fraud=pl.when(unknown).then(~pl.col("is_fraud")).otherwise("is_fraud"))
    assert decide(MODEL, model_of(AS_OF), None, features, changed) == decide(
        MODEL, model_of(AS_OF), None, features, labels
    )


# The evaluation


def test_an_evaluation_keeps_its_contract_and_judges_the_week_after_the_date() -> None:
    features, labels = world()
    row = evaluate(model_of(AS_OF), features, labels)
    FraudEvaluation.validate(pl.DataFrame([row]), lazy=True)
    week = features.filter(pl.col("event_date").is_between(AS_OF, AS_OF + WEEK - timedelta(days=1)))
    assert 0 < row["test_rows"] <= week.height
    assert row["average_precision_low"] <= row["average_precision"] <= row["average_precision_high"]
    assert row["average_precision"] > 3 * row["base_rate"]
    candidates = {c["candidate"]: c for c in json.loads(row["candidates"])}
    assert candidates.keys() == {"xgboost", "network", "linear", "stack"}
    served = json.loads(model_of(AS_OF)["report"])["served"]
    assert candidates[served]["average_precision"] == pytest.approx(row["average_precision"], abs=1e-3)


def test_an_evaluation_shows_the_served_model_beside_its_rivals() -> None:
    shown = figures(pl.DataFrame([evaluate(model_of(AS_OF), *world())]))
    table = shown["candidates"].value
    assert all(name in table for name in ("served", "network", "stack", "trained on 7 days", "constant", "Handbook"))
    assert "missed" in shown["cost_curve"].value
    assert 0 <= shown["calibration_error"] < 0.1
    assert {"event_date"}.isdisjoint(shown)


def test_an_evaluation_depends_on_nothing_after_its_week() -> None:
    features, labels = world()
    week = pl.col("event_date") < AS_OF + WEEK
    cut = evaluate(model_of(AS_OF), features.filter(week), labels.filter(week))
    assert_frame_equal(pl.DataFrame([cut]), pl.DataFrame([evaluate(model_of(AS_OF), features, labels)]))


def test_weeks_are_named_by_the_protocols_dates() -> None:
    assert TEST_WEEKS.get_partition_keys() == ["2018-07-18", "2018-07-25", "2018-08-01", "2018-08-08"]
    keys = FRAUD.weeks.get_partition_keys()
    assert (keys[0], keys[-1], len(keys)) == ("2018-07-18", "2018-08-29", 7)
    assert {datetime.fromisoformat(key).weekday() for key in keys} == {2}
