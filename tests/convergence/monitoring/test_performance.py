"""A loss of average precision is drift only where it is larger than the limit and no chance."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from convergence.errors import ConvergenceError
from convergence.models.metrics import average_precision
from convergence.monitoring.drift import DRIFT, STABLE, WATCH
from convergence.monitoring.performance import judge_scores


def week(days: int = 7, rows: int = 400, *, skill: float = 2.0, seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    fraud = random.random(days * rows) < 0.05
    return pl.DataFrame(
        {
            "event_date": [date(2024, 1, 1) + timedelta(days=n // rows) for n in range(days * rows)],
            "is_fraud": fraud,
            "score": random.normal(size=days * rows) + skill * fraud,
        }
    )


def test_the_average_precision_is_that_of_the_rows() -> None:
    rows = week()
    judged = judge_scores(rows, 0.5)
    assert judged.average_precision == average_precision(rows["is_fraud"], rows["score"])
    assert judged.low < judged.average_precision < judged.high
    assert judged.effect == pytest.approx((0.5 - judged.average_precision) / 0.05)


@pytest.mark.parametrize(
    ("above", "verdict"), [(-0.1, STABLE), (0.04, STABLE), (0.2, DRIFT)], ids=["better", "within the limit", "worse"]
)
def test_the_verdict_follows_the_loss(above: float, verdict: str) -> None:
    rows = week()
    assert judge_scores(rows, average_precision(rows["is_fraud"], rows["score"]) + above).verdict == verdict


def test_a_loss_that_may_be_chance_is_to_be_watched() -> None:
    rows = week(rows=60, seed=1)
    found = judge_scores(rows, 0.0)
    between = (found.average_precision + 0.05 + found.high) / 2
    assert found.average_precision + 0.05 < found.high, "the interval is wide"
    assert judge_scores(rows, between).verdict == WATCH


def test_a_week_without_fraud_is_an_error() -> None:
    with pytest.raises(ConvergenceError, match="hold both classes"):
        judge_scores(week().with_columns(is_fraud=False), 0.5)
