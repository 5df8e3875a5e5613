"""A loss of the measure is drift only where it is larger than the limit and no chance."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from convergence.errors import ConvergenceError
from convergence.models.gated import GatedModel, Schedule
from convergence.models.metrics import average_precision
from convergence.models.tasks import Task, binary, regression
from convergence.monitoring.drift import DRIFT, STABLE, WATCH
from convergence.monitoring.performance import performance_row

FIRST, AS_OF = date(2024, 1, 1), date(2024, 1, 15)
SCHEDULE = Schedule(FIRST, AS_OF, training_days=7, gate_days=7, delay_days=7, oldest_champion_days=7)


def model(task: Task, limit: float = 0.05) -> GatedModel:
    return GatedModel(
        "uc", "loss_model", task, SCHEDULE, "uc/features", "uc/labels", (), "", "", performance_limit=limit
    )


def week(days: int = 7, rows: int = 400, *, skill: float = 2.0, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    lost = random.random(days * rows) < 0.05
    return pl.DataFrame(
        {
            "event_date": [FIRST + timedelta(days=n // rows) for n in range(days * rows)],
            "id": range(days * rows),
            "is_lost": lost,
            "score": random.normal(size=days * rows) + skill * lost,
            "model_version": "v1",
        }
    )


def judged(rows: pl.DataFrame, baseline: float, declared: GatedModel) -> dict[str, Any]:
    known = datetime.combine(AS_OF, datetime.min.time(), UTC)
    labels = rows.select("event_date", "id", declared.task.label, label_time=pl.lit(known))
    decisions = pl.DataFrame({"challenger_version": ["v1"], declared.gate_measure: [baseline]})
    return performance_row(declared, rows.drop(declared.task.label), labels, decisions, AS_OF)


LOSS = model(binary("is_lost", "id", repetitions=50))


def test_the_measure_is_that_of_the_rows() -> None:
    rows = week()
    row = judged(rows, 0.5, LOSS)
    found = row["average_precision"]
    assert found == average_precision(rows["is_lost"], rows["score"])
    assert row["average_precision_low"] < found < row["average_precision_high"]
    assert row["effect"] == pytest.approx((0.5 - found) / 0.05)


@pytest.mark.parametrize(
    ("above", "verdict"), [(-0.1, STABLE), (0.04, STABLE), (0.2, DRIFT)], ids=["better", "within the limit", "worse"]
)
def test_the_verdict_follows_the_loss(above: float, verdict: str) -> None:
    rows = week()
    assert judged(rows, average_precision(rows["is_lost"], rows["score"]) + above, LOSS)["verdict"] == verdict


def test_a_loss_that_may_be_chance_is_to_be_watched() -> None:
    rows = week(rows=60, seed=1)
    row = judged(rows, 0.0, LOSS)
    found, high = row["average_precision"], row["average_precision_high"]
    assert found + 0.05 < high, "the interval is wide"
    assert judged(rows, (found + 0.05 + high) / 2, LOSS)["verdict"] == WATCH


@pytest.mark.parametrize(("baseline", "verdict"), [(1.0, STABLE), (0.96, STABLE), (0.5, DRIFT)])
def test_of_an_error_more_is_worse(baseline: float, verdict: str) -> None:
    rows = week().with_columns(price=pl.col("score") + pl.Series(np.random.default_rng(3).normal(size=2_800)))
    row = judged(rows, baseline, model(regression("price", "id")))
    assert row["verdict"] == verdict
    assert row["rmse"] == pytest.approx(1.0, abs=0.05)


def test_a_week_without_a_positive_is_an_error() -> None:
    with pytest.raises(ConvergenceError, match="hold both classes"):
        judged(week().with_columns(is_lost=False), 0.5, LOSS)
