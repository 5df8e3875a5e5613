"""Each transaction is scored by the champion of its own day."""

import json
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.models import boosting, calibration, ensemble, stored
from convergence.models.gated import issue
from convergence_assets.fraud.contracts import FraudAlert
from convergence_assets.fraud.inference import alert_figures, alerts
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.model_contracts import FraudChampion, FraudScore
from convergence_assets.fraud.use_case import MODEL
from tests.convergence_assets.fraud.worlds import world

FIRST, SECOND, THIRD = date(2018, 5, 2), date(2018, 5, 9), date(2018, 5, 16)


FEATURES = ["amount", "hour", "terminal_frauds_7d", "terminal_last_fraud_age", "is_night", "amount_to_mean"]
THRESHOLD = 0.02


@cache
def small_model(seed: int) -> dict[str, Any]:
    """Trees on a few features as a promotion holds them: ONNX, its hash, and their JSON."""
    features, labels = world(60)
    rows = features.join(labels.select("transaction_id", "is_fraud"), on="transaction_id").head(4000)
    model = boosting.fit(rows.select(FEATURES), rows["is_fraud"], rounds=5, seed=seed, params={"subsample": 0.5})
    raw = calibration.Calibration("platt", 0.0, np.ones(1), np.empty(0))
    onnx = ensemble.Ensemble({"xgboost": boosting.Trees(model)}, np.ones(1), raw).to_onnx(FEATURES)
    return {"onnx": onnx, "sha256": stored.digest(onnx), "model": model, "alert_threshold": THRESHOLD}


def champion(day: date, version: str, as_of: date | None = None) -> dict[str, Any]:
    return {
        "event_date": day,
        "model_version": version,
        "model_as_of": as_of or day,
        "release": None,
        **small_model(sum(version.encode())),
    }


def week(first: date, version: str, **changed: Any) -> list[dict[str, Any]]:
    """The champions of the seven days from `first` on, as of the first."""
    return [champion(first + timedelta(days=n), version, first) | changed for n in range(7)]


def champions(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema_of(FraudChampion))


def three_weeks() -> pl.DataFrame:
    """a, then b for two weeks."""
    return champions(*week(FIRST, "a"), *week(SECOND, "b"), *week(THIRD, "b", model_as_of=SECOND))


def score(features: pl.DataFrame, champions: pl.DataFrame) -> pl.DataFrame:
    return issue(MODEL, FraudScore, features, champions)


def days(first: date, last: date) -> pl.DataFrame:
    return world(60)[0].filter(pl.col("event_date").is_between(first, last))


def test_each_day_is_scored_by_its_own_champion() -> None:
    scores = score(days(FIRST, THIRD), three_weeks())
    issued = {
        day: set(rows["model_version"]) for (day,), rows in scores.partition_by("event_date", as_dict=True).items()
    }
    assert issued == {FIRST + timedelta(days=n): {"a" if n < 7 else "b"} for n in range(15)}
    assert set(scores["model_as_of"]) == {FIRST, SECOND}


def test_scores_are_those_of_the_champion() -> None:
    rows = days(FIRST, FIRST)
    mine = champion(FIRST, "a")
    expected = boosting.predict(mine["model"], rows.sort("event_time", "transaction_id").select(FEATURES))
    np.testing.assert_allclose(score(rows, champions(mine))["score"], expected, atol=1e-6)


def test_a_champion_that_is_not_the_one_its_row_names_scores_nothing() -> None:
    other = champion(FIRST, "b")["onnx"]
    with pytest.raises(ModelError, match="the model is not the one asked for"):
        score(days(FIRST, FIRST), champions(champion(FIRST, "a") | {"onnx": other}))


def test_every_transaction_is_scored_once_and_keeps_the_contract() -> None:
    rows = days(FIRST, THIRD)
    scores = score(rows.sample(fraction=1, shuffle=True, seed=1), three_weeks())
    FraudScore.validate(scores, lazy=True)
    assert scores["transaction_id"].to_list() == rows.sort("event_time", "transaction_id")["transaction_id"].to_list()


def test_a_day_scored_alone_is_the_same_day_of_a_range() -> None:
    served = three_weeks()
    alone = score(days(SECOND, SECOND), served)
    assert alone.equals(score(days(FIRST, THIRD), served).filter(pl.col("event_date") == SECOND))


def test_a_day_without_a_champion_is_an_error_that_names_it() -> None:
    with pytest.raises(ModelError, match=f"no champion on {SECOND}: materialize fraud/fraud_champions"):
        score(days(FIRST, THIRD), champions(*week(FIRST, "a"), *week(THIRD, "b")))


def test_no_transactions_give_no_scores() -> None:
    assert score(days(FIRST, FIRST).head(0), champions(champion(FIRST, "a"))).schema == schema_of(FraudScore)


def test_days_are_scored_from_the_first_model_on() -> None:
    assert FRAUD.days.get_partition_keys()[0] == FRAUD.weeks.get_partition_keys()[0]


# Alerts


def raised(first: date = FIRST, last: date = THIRD) -> pl.DataFrame:
    served = three_weeks()
    return alerts(days(first, last), score(days(first, last), served), served)


def test_alerts_are_exactly_the_scores_that_reach_the_threshold_of_their_model() -> None:
    served = champions(*week(FIRST, "a"), *week(SECOND, "b", alert_threshold=1.0))
    rows = days(FIRST, SECOND)
    issued = score(rows, served)
    expected = issued.filter(pl.col("score") >= THRESHOLD, pl.col("event_date") < SECOND)
    found = alerts(rows, issued, served)
    FraudAlert.validate(found, lazy=True)
    assert 0 < found.height < rows.height
    assert found["transaction_id"].to_list() == expected["transaction_id"].to_list()
    assert found["score"].to_list() == expected["score"].to_list()


def test_an_alert_gives_the_five_strongest_of_its_shap_values_in_words() -> None:
    row = raised().row(0, named=True)
    reasons = json.loads(row["contributions"])
    assert len(reasons) == 5
    assert [r["shap"] for r in reasons] == sorted((r["shap"] for r in reasons), reverse=True)
    lines = row["reasons"].splitlines()
    assert [line[:3] for line in lines] == ["1. ", "2. ", "3. ", "4. ", "5. "]
    described = {"amount": "Amount paid", "terminal_frauds_7d": "Frauds at the terminal over 7 days"}
    for reason, line in zip(reasons, lines, strict=True):
        assert described.get(reason["feature"], "") in line
        assert f"{abs(reason['shap']):.2f}" in line


def test_the_reasons_are_those_of_the_model_that_issued_the_score() -> None:
    """All SHAP values and the base add up to the log odds of the score as issued, through ONNX."""
    found = raised()
    assert found["additivity_error"].max() <= 1e-4
    for row in found.head(20).iter_rows(named=True):
        features = days(row["event_date"], row["event_date"]).filter(pl.col("transaction_id") == row["transaction_id"])
        trees = champion(FIRST, row["model_version"])["model"]
        values = boosting.values_of(features.select(FEATURES))
        odds = float(boosting.Trees(trees).contributions(values).sum())
        assert odds == pytest.approx(np.log(row["score"] / (1 - row["score"])), abs=1e-4)


def test_a_missing_value_is_called_missing() -> None:
    gaps = days(FIRST, THIRD).with_columns(terminal_last_fraud_age=pl.lit(None, pl.Float64))
    served = three_weeks()
    found = alerts(gaps, score(gaps, served), served)
    named = found.filter(pl.col("contributions").str.contains("terminal_last_fraud_age"))
    assert named.height
    assert named["reasons"].str.contains("known fraud of 30 days of labels: missing").all()
    assert not named["contributions"].str.contains("NaN").any()


def test_reasons_that_do_not_add_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = boosting.Trees.contributions
    monkeypatch.setattr(boosting.Trees, "contributions", lambda *a: whole(*a) + 1e-3)
    with pytest.raises(ModelError, match="miss their log odds by up to"):
        raised()


def test_a_score_by_another_model_than_the_days_champion_is_an_error_that_names_it() -> None:
    issued = score(days(FIRST, FIRST), three_weeks()).with_columns(model_version=pl.lit("lost"))
    with pytest.raises(ModelError, match=r"on 2018-05-02 by lost, expected \['a'\]"):
        alerts(days(FIRST, FIRST), issued, three_weeks())


def test_a_quiet_day_has_no_alerts() -> None:
    served = champions(*week(FIRST, "a", alert_threshold=1.0))
    found = alerts(days(FIRST, FIRST), score(days(FIRST, FIRST), served), served)
    assert found.schema == schema_of(FraudAlert)
    assert found.is_empty()


def test_what_the_ui_shows_names_the_most_suspicious_alert() -> None:
    found = raised(FIRST, FIRST)
    first = found.sort("score", descending=True).row(0, named=True)
    shown = alert_figures(found)
    assert (shown["alerts"], shown["threshold"]) == (found.height, THRESHOLD)
    assert f"Transaction {first['transaction_id']}," in shown["most_suspicious"].value
