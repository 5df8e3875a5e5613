"""Who is champion when, and when a challenger becomes one."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from convergence.errors import ConvergenceError, ModelError
from convergence.models.promotions import PROMOTIONS_SCHEMA, Scores, champion_as_of, gate, last_promotion

JUNE = date(2018, 6, 1)


def promotions(*rows: tuple[int, str, int]) -> pl.DataFrame:
    """Rows of (day of June valid from, version, hour decided)."""
    return pl.DataFrame(
        [
            (date(2018, 6, day), version, datetime(2018, 6, 1, tzinfo=UTC) + timedelta(hours=hour), "gate passed")
            for day, version, hour in rows
        ],
        schema=PROMOTIONS_SCHEMA,
        orient="row",
    )


def scores(version: str, *, skill: float = 2.0, days: int = 10, seed: int = 0) -> Scores:
    """2 % frauds; with skill 0 the score knows nothing of the label."""
    random = np.random.default_rng(7)
    number = days * 300
    fraud = random.random(number) < 0.02
    noise = np.random.default_rng(seed).normal(size=number)
    rows = pl.DataFrame(
        {
            "transaction_id": np.arange(number),
            "event_date": [JUNE + timedelta(days=i // 300) for i in range(number)],
            "is_fraud": fraud,
            "score": 1 / (1 + np.exp(-(skill * fraud + noise))),
        }
    )
    return Scores(version, rows)


def with_scores(given: Scores, score: pl.Expr) -> Scores:
    return Scores(given.model_version, given.rows.with_columns(score=score))


def test_the_champion_is_the_last_promotion_valid_on_the_day() -> None:
    table = promotions((1, "v1", 1), (8, "v2", 2), (15, "v3", 3))
    assert [champion_as_of(table, date(2018, 6, day)) for day in (1, 7, 8, 14, 30)] == ["v1", "v1", "v2", "v2", "v3"]


def test_the_order_of_rows_does_not_matter_when_dates_differ() -> None:
    assert champion_as_of(promotions((8, "v2", 2), (1, "v1", 1)), date(2018, 6, 9)) == "v2"


def test_a_rollback_decided_later_wins_for_the_same_day() -> None:
    assert champion_as_of(promotions((1, "v1", 1), (8, "v1", 9), (8, "v2", 2)), date(2018, 6, 9)) == "v1"


def test_a_rollback_leaves_the_days_before_it_as_they_were() -> None:
    table = promotions((1, "v1", 1), (8, "v2", 2), (12, "v1", 3))
    assert [champion_as_of(table, date(2018, 6, day)) for day in (7, 11, 12)] == ["v1", "v2", "v1"]


def test_row_order_decides_between_promotions_of_one_moment() -> None:
    assert champion_as_of(promotions((1, "v1", 1), (1, "v2", 1)), JUNE) == "v2"


def test_the_last_promotion_is_the_whole_row() -> None:
    found = last_promotion(promotions((1, "v1", 1)), JUNE)
    assert found == (JUNE, "v1", datetime(2018, 6, 1, 1, tzinfo=UTC), "gate passed")


def test_there_is_no_promotion_before_the_first() -> None:
    assert last_promotion(promotions((8, "v1", 1)), JUNE) is None


def test_a_day_without_champion_names_the_first_promotion() -> None:
    with pytest.raises(ModelError, match=r"no champion on 2018-06-01: .* valid from 2018-06-08"):
        champion_as_of(promotions((8, "v1", 1)), JUNE)


def test_an_empty_table_has_no_champion() -> None:
    with pytest.raises(ModelError, match="the table is empty"):
        champion_as_of(promotions(), JUNE)


def test_a_frame_that_is_no_promotions_table_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="not a promotions table: expected"):
        champion_as_of(pl.DataFrame({"valid_from": [JUNE]}), JUNE)


def test_a_promotion_with_a_null_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="nulls, expected none"):
        champion_as_of(promotions((1, "v1", 1)).with_columns(decided_at=pl.lit(None, pl.Datetime("us", "UTC"))), JUNE)


def test_a_first_model_with_skill_passes() -> None:
    verdict = gate(scores("v1", skill=4), None)
    assert verdict.passed
    assert verdict.rules["rule"].to_list() == ["invalid_scores", "beats_trivial_baseline"]
    assert verdict.reason.startswith("v1 passes with no champion yet.")


def test_a_model_without_skill_is_refused() -> None:
    verdict = gate(scores("v1", skill=0), None)
    assert not verdict.passed
    assert "beats_trivial_baseline FAILED: average precision 0.0" in verdict.reason


def test_the_baseline_limit_is_five_times_the_base_rate() -> None:
    challenger = scores("v1", skill=4)
    rule = gate(challenger, None).rules.row(1, named=True)
    assert rule["limit"] == pytest.approx(5 * challenger.rows["is_fraud"].to_numpy().mean())


def test_an_equal_challenger_passes() -> None:
    champion = scores("v1", skill=4)
    assert gate(Scores("v2", champion.rows), champion).passed


def test_a_challenger_within_one_standard_error_passes() -> None:
    verdict = gate(scores("v2", skill=4, seed=13), scores("v1", skill=4, seed=12))
    rule = verdict.rules.row(2, named=True)
    assert rule["limit"] < rule["value"] < 0
    assert verdict.passed


def test_a_clearly_worse_challenger_is_refused() -> None:
    verdict = gate(scores("v2", skill=3, seed=1), scores("v1", skill=6))
    assert not verdict.passed
    assert "v2 is refused against champion v1." in verdict.reason
    assert "not_worse_than_champion FAILED" in verdict.reason


def test_a_better_challenger_passes() -> None:
    assert gate(scores("v2", skill=6), scores("v1", skill=3, seed=1)).passed


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1.5, -0.1, None])
def test_a_score_outside_the_unit_interval_is_refused(bad) -> None:
    good = scores("v2", skill=4)
    spoilt = with_scores(good, pl.when(pl.col("transaction_id") == 5).then(bad).otherwise(pl.col("score")))
    verdict = gate(spoilt, scores("v1"))
    assert verdict.rules["passed"].to_list() == [False, False, False]
    assert "invalid_scores FAILED: 1 scores are not in [0, 1], 0 allowed" in verdict.reason


def test_the_verdict_does_not_depend_on_row_order() -> None:
    challenger, champion = scores("v2", skill=4, seed=3), scores("v1", skill=4, seed=4)
    shuffled = Scores("v1", champion.rows.sample(fraction=1, shuffle=True, seed=5))
    assert gate(challenger, champion).rules.equals(gate(challenger, shuffled).rules)


def test_sides_that_scored_different_rows_are_refused() -> None:
    champion = scores("v1")
    with pytest.raises(ConvergenceError, match="3000 and 2999 rows, 2999 shared"):
        gate(scores("v2"), Scores("v1", champion.rows.head(-1)))


def test_sides_with_different_labels_are_refused() -> None:
    champion = scores("v1")
    relabelled = Scores("v1", champion.rows.with_columns(is_fraud=~pl.col("is_fraud")))
    with pytest.raises(ConvergenceError, match="3000 of 3000 labels differ"):
        gate(scores("v2"), relabelled)
