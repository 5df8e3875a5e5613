"""A booster is continued week by week on labels that it was judged on before, and only if the gate agrees."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest

from convergence.models import boosting, metrics, splits, stored
from convergence_assets.fraud import training, updating
from convergence_assets.fraud.feature_views import MODEL_INPUT
from convergence_assets.fraud.training import in_use, matrix, trees
from convergence_assets.fraud.updating import FraudUpdatedModel, prequential, update, update_weeks
from convergence_assets.fraud.use_case import MODEL
from tests.convergence_assets.fraud.worlds import at, world

AS_OF = date(2018, 7, 18)
WEEK = timedelta(days=7)


@pytest.fixture(autouse=True)
def few_rounds() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ROUNDS", 20)
        patch.setattr(training, "PARAMETERS", {"eta": 0.3, "max_depth": 3})  # few trees, and yet calibrated
        patch.setattr(updating, "ROUNDS", 5)
        yield


@cache
def refit(week: int) -> dict[str, Any]:
    """What an update reads of a week's row of FraudModel."""
    as_of = AS_OF + week * WEEK
    rows = splits.training_rows(MODEL.known(*world(), as_of), as_of, days=84, delay=14)
    return {"event_date": as_of, "model": trees(matrix(rows), in_use()).model, "parameters": json.dumps(in_use())}


@cache
def updated(week: int) -> dict[str, Any]:
    row = update(refit(week), updated(week - 1) if week else None, *world())
    assert row is not None
    return row


def scores(model: str, first: date) -> float:
    """Average precision on the week from a day on."""
    features, labels = world()
    rows = features.join(labels.select("transaction_id", "is_fraud"), on="transaction_id")
    rows = rows.filter(pl.col("event_date").is_between(first, first + WEEK, closed="left"))
    return metrics.average_precision(rows["is_fraud"], boosting.predict(model, rows.select(MODEL_INPUT)))


def test_the_first_week_is_the_full_fit() -> None:
    row = updated(0)
    FraudUpdatedModel.validate(pl.DataFrame([row]), lazy=True)
    assert row["model"] == row["frozen"] == refit(0)["model"]
    assert row["trees"] == 20


def test_an_update_adds_trees_to_its_predecessor_and_keeps_the_others() -> None:
    row = updated(1)
    FraudUpdatedModel.validate(pl.DataFrame([row]), lazy=True)
    assert (row["updated"], row["trees"]) == (True, 25)
    before, after = (json.loads(r["model"])["learner"]["gradient_booster"]["model"]["trees"] for r in (updated(0), row))
    assert after[:20] == before


def test_every_figure_is_of_the_newest_week_with_known_labels() -> None:
    row, newest = updated(1), AS_OF + WEEK - 2 * WEEK
    assert row["average_precision"] == pytest.approx(scores(updated(0)["model"], newest), abs=1e-6)
    assert row["average_precision_frozen"] == row["average_precision"]
    assert row["average_precision_update"] == pytest.approx(scores(row["model"], newest), abs=1e-6)
    assert row["average_precision_refit"] == pytest.approx(scores(refit(1)["model"], newest), abs=1e-6)


def test_the_week_that_is_scored_is_not_learned_from() -> None:
    features, labels = world()
    newest = pl.col("event_date").is_between(AS_OF - WEEK, AS_OF, closed="left")
    changed = features.with_columns(amount=pl.when(newest).then(pl.lit(0.0)).otherwise("amount"))
    row = update(refit(1), updated(0), changed, labels)
    assert row is not None
    assert row["average_precision"] != updated(1)["average_precision"]
    assert not row["updated"] or row["model"] == updated(1)["model"]


def test_nothing_after_the_date_changes_an_update() -> None:
    features, labels = world()
    unknown = pl.col("label_time") > at(AS_OF + WEEK)
    changed = labels.with_columns(is_fraud=pl.when(unknown).then(~pl.col("is_fraud")).otherwise("is_fraud"))
    assert update(refit(1), updated(0), features.filter(pl.col("event_time") < at(AS_OF + WEEK)), changed) == updated(1)


def test_an_update_that_the_gate_refuses_leaves_its_predecessor_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = world()
    learned = pl.col("event_date") < AS_OF - WEEK
    poisoned = labels.with_columns(is_fraud=pl.when(learned).then(~pl.col("is_fraud")).otherwise("is_fraud"))
    monkeypatch.setattr(updating, "ROUNDS", 40)
    row = update(refit(1), updated(0), features, poisoned)
    assert row is not None
    served = ("model_version", "onnx", "sha256", "model", "trees")
    assert [row[name] for name in served] == [updated(0)[name] for name in served]
    assert (row["updated"], json.loads(row["history"])[-1]["updated"]) == (False, False)
    assert "is refused" in row["reason"]
    assert row["average_precision_update"] < row["average_precision"]
    assert "| refused |" in prequential(pl.DataFrame([row]))["prequential"].value


def test_a_first_booster_that_the_gate_refuses_serves_nobody() -> None:
    features, labels = world()
    assert update(refit(0), None, features, labels.with_columns(~pl.col("is_fraud"))) is None


def test_weeks_in_one_go_are_weeks_one_by_one() -> None:
    together = update_weeks([refit(0), refit(1)], None, *world())
    assert together.to_dicts() == [updated(0), updated(1)]
    assert [week["event_date"] for week in json.loads(together["history"][-1])] == ["2018-07-18", "2018-07-25"]


def test_what_serves_is_opened_by_its_hash_and_scores_as_the_booster_does() -> None:
    row, rows = updated(1), world()[0].tail(200)
    scorer = stored.load(row["onnx"], sha256=row["sha256"], features=MODEL_INPUT)
    expected = boosting.predict(row["model"], rows.select(MODEL_INPUT))
    assert scorer.score_rows(rows).to_numpy() == pytest.approx(expected, abs=1e-5)
    assert row["model_version"] == f"{AS_OF + WEEK}.{row['sha256'][:8]}"
