"""Each transaction is scored by the champion of its own day."""

from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.models import boosting
from convergence_assets.fraud.contracts import FraudPromotion, FraudScore
from convergence_assets.fraud.inference import SCORED_DAYS, score
from convergence_assets.fraud.training import MODEL_WEEKS
from tests.convergence_assets.fraud.worlds import at, world

FIRST, SECOND, THIRD = date(2018, 5, 2), date(2018, 5, 9), date(2018, 5, 16)


@cache
def small_model(seed: int) -> str:
    features, labels = world(60)
    rows = features.join(labels.select("transaction_id", "is_fraud"), on="transaction_id").head(2000)
    return boosting.fit(rows.select("amount", "hour"), rows["is_fraud"], rounds=3, seed=seed, params={"subsample": 0.5})


def promotion(
    valid_from: date, version: str, decided_at: datetime | None = None, as_of: date | None = None
) -> dict[str, Any]:
    return {
        "event_date": valid_from,
        "valid_from": valid_from,
        "model_version": version,
        "model_as_of": as_of or valid_from,
        "decided_at": decided_at or at(valid_from),
        "reason": "",
        "challenger_version": version,
        "promoted": True,
        "gate_average_precision": 0.5,
        "gate": "[]",
        "model": small_model(sum(version.encode())),
    }


def three_weeks() -> pl.DataFrame:
    """a, then b, which a refused challenger leaves in place."""
    return promotions(promotion(FIRST, "a"), promotion(SECOND, "b"), promotion(THIRD, "b", as_of=SECOND))


def promotions(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=schema_of(FraudPromotion))


def days(first: date, last: date) -> pl.DataFrame:
    return world(60)[0].filter(pl.col("event_date").is_between(first, last))


def champions(scores: pl.DataFrame) -> dict[date, set[str]]:
    return {day: set(rows["model_version"]) for (day,), rows in scores.partition_by("event_date", as_dict=True).items()}


def test_a_day_is_scored_by_the_newest_champion_that_is_valid_on_it() -> None:
    scores = score(days(FIRST, THIRD), three_weeks())
    expected = {FIRST + timedelta(days=n): {"a" if n < 7 else "b"} for n in range(15)}
    assert champions(scores) == expected
    assert set(scores["model_as_of"]) == {FIRST, SECOND}


def test_a_later_decision_for_the_same_day_wins() -> None:
    rollback = promotion(SECOND, "a", at(THIRD))
    scores = score(days(SECOND, SECOND), promotions(rollback, promotion(FIRST, "a"), promotion(SECOND, "b")))
    assert champions(scores) == {SECOND: {"a"}}


def test_scores_are_those_of_the_champion() -> None:
    rows = days(FIRST, FIRST)
    champion = promotion(FIRST, "a")
    expected = boosting.predict(champion["model"], rows.sort("event_time", "transaction_id").select("amount", "hour"))
    assert score(rows, promotions(champion))["score"].to_list() == expected.tolist()


def test_every_transaction_is_scored_once_and_keeps_the_contract() -> None:
    rows = days(FIRST, THIRD)
    scores = score(rows.sample(fraction=1, shuffle=True, seed=1), three_weeks())
    FraudScore.validate(scores, lazy=True)
    assert scores["transaction_id"].to_list() == rows.sort("event_time", "transaction_id")["transaction_id"].to_list()


def test_a_day_scored_alone_is_the_same_day_of_a_range() -> None:
    served = three_weeks()
    alone = score(days(SECOND, SECOND), served)
    assert alone.equals(score(days(FIRST, THIRD), served).filter(pl.col("event_date") == SECOND))


def test_a_day_before_the_first_champion_is_an_error_that_names_it() -> None:
    with pytest.raises(ModelError, match="no champion on 2018-05-01: materialize fraud/fraud_promotions"):
        score(days(FIRST - timedelta(days=1), SECOND), promotions(promotion(FIRST, "a")))


def test_a_week_without_a_decision_is_an_error_and_not_served_by_the_week_before() -> None:
    with pytest.raises(ModelError, match=f"no champion on {THIRD}"):
        score(days(FIRST, THIRD), promotions(promotion(FIRST, "a"), promotion(SECOND, "b")))


def test_without_any_champion_nothing_is_scored() -> None:
    with pytest.raises(ModelError, match="no champion on 2018-05-02"):
        score(days(FIRST, SECOND), promotions())


def test_no_transactions_give_no_scores() -> None:
    assert score(days(FIRST, FIRST).head(0), promotions(promotion(FIRST, "a"))).schema == schema_of(FraudScore)


def test_days_are_scored_from_the_first_model_on() -> None:
    assert SCORED_DAYS.get_partition_keys()[0] == MODEL_WEEKS.get_partition_keys()[0]
