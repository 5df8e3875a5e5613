"""Who is champion when, and when a challenger becomes one."""

from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import ConvergenceError, ModelError
from convergence.models import promotions
from convergence.models.calibration import equal_mass_calibration_error
from convergence.models.promotions import Scores, Served, champion_as_of
from convergence.models.tasks import Limits, binary

JUNE = date(2018, 6, 1)
TASK = binary("is_fraud", "transaction_id")
gate = partial(promotions.gate, task=TASK)


SCHEMA = pl.Schema(
    {
        "valid_from": pl.Date(),
        "counts_from": pl.Date(),
        "model_version": pl.String(),
        "model_as_of": pl.Date(),
        "sha256": pl.String(),
        "onnx": pl.Binary(),
    }
)


def decisions(*rows: tuple[int, str, int]) -> pl.DataFrame:
    """The gate's: rows of (day of June valid from, version, day of June that the version is as of)."""
    return pl.DataFrame(
        {
            "valid_from": [date(2018, 6, day) for day, _, _ in rows],
            "model_version": [version for _, version, _ in rows],
            "model_as_of": [date(2018, 6, as_of) for _, _, as_of in rows],
            "sha256": [f"hash of {version}" for _, version, _ in rows],
            "onnx": [version.encode() for _, version, _ in rows],
        },
        schema={n: t for n, t in SCHEMA.items() if n != "counts_from"},
    )


def released(*rows: tuple[int, int, str]) -> pl.DataFrame:
    """Of the log: rows of (day valid from, day counts from, version)."""
    return pl.DataFrame(
        [
            (date(2018, 6, day), date(2018, 6, counts), version, JUNE, f"hash of {version}", version.encode())
            for day, counts, version in rows
        ],
        schema=SCHEMA,
        orient="row",
    )


def champions(decided: pl.DataFrame, logged: pl.DataFrame, *days: int) -> list[str]:
    return [champion_as_of(decided, logged, date(2018, 6, day))["model_version"] for day in days]


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
            "score": _posterior(skill * fraud + noise, skill),
        }
    )
    return Scores(version, rows)


def _posterior(seen: np.ndarray, skill: float) -> np.ndarray:
    """The probability of fraud given what was seen: a calibrated score."""
    return 1 / (1 + 49 * np.exp(skill**2 / 2 - skill * seen))


def with_scores(given: Scores, score: pl.Expr) -> Scores:
    return Scores(given.model_version, given.rows.with_columns(score=score))


WEEKS = ((1, "v1", 1), (8, "v2", 8), (15, "v3", 15))


def test_the_champion_is_the_last_one_that_the_gate_let_serve() -> None:
    assert champions(decisions(*WEEKS), released(), 1, 7, 8, 14, 30) == ["v1", "v1", "v2", "v2", "v3"]


def test_the_order_of_decisions_does_not_matter() -> None:
    assert champions(decisions(*reversed(WEEKS)), released(), 9, 30) == ["v2", "v3"]


def test_the_champion_comes_with_what_it_takes_to_score() -> None:
    found = champion_as_of(decisions(*WEEKS), released(), date(2018, 6, 9))
    assert found == {
        "model_version": "v2", "model_as_of": date(2018, 6, 8), "sha256": "hash of v2", "onnx": b"v2"
    }  # fmt: skip


def test_a_rollback_scores_from_its_first_day_on_and_changes_no_day_before() -> None:
    assert champions(decisions(*WEEKS), released((18, 18, "v2")), 14, 17, 18, 30) == ["v2", "v3", "v2", "v2"]


def test_a_refused_challenger_does_not_bring_back_what_was_rolled_back() -> None:
    kept = decisions(*WEEKS, (22, "v3", 15))  # decided before the rollback: it keeps the champion of then
    assert champions(kept, released((18, 18, "v2")), 17, 21, 22, 30) == ["v3", "v2", "v2", "v2"]


def test_a_newer_model_that_passes_the_gate_ends_a_rollback() -> None:
    later = decisions(*WEEKS, (22, "v4", 22))
    assert champions(later, released((18, 18, "v2")), 21, 22) == ["v2", "v4"]


def test_a_decision_of_before_the_rollback_for_days_to_come_does_not_end_it() -> None:
    ahead = decisions(*WEEKS, (22, "v4", 22))  # v4 was known, and rolled back, before the scores had come to day 22
    assert champions(ahead, released((18, 22, "v2")), 17, 18, 22, 30) == ["v3", "v2", "v2", "v2"]


def test_a_promoted_model_scores_no_day_before_its_as_of_date() -> None:
    behind = released((10, 22, "v4"))  # scores had come to day 9 when v4, as of day 22, was promoted
    behind = behind.with_columns(model_as_of=date(2018, 6, 22))
    ahead = decisions(*WEEKS, (22, "v4", 22))
    assert champions(ahead, behind, 9, 10, 14, 15, 21, 22, 30) == ["v2", "v2", "v2", "v3", "v3", "v4", "v4"]


def test_of_two_releases_of_one_day_the_later_one_counts() -> None:
    assert champions(decisions(*WEEKS), released((18, 18, "v2"), (18, 18, "v1")), 18) == ["v1"]


def test_making_the_decisions_again_does_not_undo_a_rollback() -> None:
    rollback = released((18, 18, "v2"))
    assert champions(decisions(*WEEKS), rollback, 20) == champions(decisions(*WEEKS, (22, "v3", 15)), rollback, 20)


@given(
    weeks=st.lists(st.booleans(), min_size=1, max_size=8),
    rollbacks=st.lists(st.integers(0, 60), max_size=4).map(sorted),
    day=st.integers(0, 70),
)
def test_the_champion_is_that_of_a_clerk_who_keeps_the_book_day_by_day(
    weeks: list[bool], rollbacks: list[int], day: int
) -> None:
    """The oracle walks through the days; each week's gate promotes a new model or keeps the clerk's champion."""
    decided, logged, champion = [], [], ("v0", JUNE)
    for now in range(day + 1):
        at = JUNE + timedelta(days=now)
        if now % 7 == 0 and now // 7 < len(weeks):
            if now == 0 or weeks[now // 7]:
                champion = (f"v{now // 7}", at)
            decided.append((at, *champion, "", b""))
        for number, when in enumerate(rollbacks):
            if when == now:
                champion = (f"r{number}", JUNE)
                logged.append((at, at, *champion, "", b""))
    frames = pl.DataFrame(decided, schema=decisions().schema, orient="row"), pl.DataFrame(
        logged, schema=SCHEMA, orient="row"
    )  # fmt: skip
    assert champion_as_of(*frames, JUNE + timedelta(days=day))["model_version"] == champion[0]


def test_a_day_without_champion_names_the_first_decision() -> None:
    with pytest.raises(
        ModelError, match=r"no champion on 2018-06-01: .* or earlier, those there are are valid from 2018-06-08"
    ):
        champion_as_of(decisions((8, "v1", 8)), released(), JUNE)


def test_without_decisions_there_is_no_champion() -> None:
    with pytest.raises(ModelError, match="there is none"):
        champion_as_of(decisions(), released(), JUNE)


def test_where_the_weeks_decision_is_missing_it_has_to_be_made_first() -> None:
    week, rollback = timedelta(days=6), released((18, 18, "v2"))
    assert champion_as_of(decisions(*WEEKS), rollback, date(2018, 6, 21), within=week)["model_version"] == "v2"
    with pytest.raises(ModelError, match="expected a decision valid from 2018-06-16 to 2018-06-22, those there are"):
        champion_as_of(decisions(*WEEKS), rollback, date(2018, 6, 22), within=week)


def test_the_champions_of_many_days_come_as_a_frame() -> None:
    days = [date(2018, 6, day) for day in (17, 18)]
    found = promotions.champions(
        decisions(*WEEKS), released((18, 18, "v2")), days, columns=["model_version", "onnx"], within=timedelta(days=6)
    )
    assert found.rows() == [(days[0], "v3", b"v3"), (days[1], "v2", b"v2")]
    assert found.columns == ["event_date", "model_version", "onnx"]


def test_the_caller_says_what_it_takes_to_score() -> None:
    found = champion_as_of(decisions(*WEEKS), released((18, 18, "v2")), date(2018, 6, 20), columns=["onnx", "sha256"])
    assert found == {"onnx": b"v2", "sha256": "hash of v2"}


def test_a_first_model_with_skill_passes() -> None:
    verdict = gate(scores("v1", skill=4), None)
    assert verdict.passed
    assert verdict.rules["rule"].to_list() == ["invalid_scores", "beats_trivial_baseline", "calibration"]
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
    assert verdict.rules["passed"].to_list() == [False, False, False, False]
    assert "invalid_scores FAILED: 1 scores are not in [0, 1], 0 allowed" in verdict.reason


def test_the_verdict_does_not_depend_on_row_order() -> None:
    challenger, champion = scores("v2", skill=4, seed=3), scores("v1", skill=4, seed=4)
    shuffled = Scores("v1", champion.rows.sample(fraction=1, shuffle=True, seed=5))
    assert gate(challenger, champion).rules.equals(gate(challenger, shuffled).rules)


def test_the_verdict_does_not_depend_on_what_key_and_label_are_called() -> None:
    def renamed(given: Scores) -> Scores:
        return Scores(given.model_version, given.rows.rename({"transaction_id": "customer_id", "is_fraud": "churned"}))

    ours, theirs = scores("v2", skill=1.5, seed=1), scores("v1")
    other = gate(renamed(ours), renamed(theirs), task=binary("churned", "customer_id"))
    assert other.rules.equals(gate(ours, theirs).rules)
    assert not other.passed


def test_sides_that_scored_different_rows_are_refused() -> None:
    champion = scores("v1")
    with pytest.raises(ConvergenceError, match="3000 and 2999 rows, 2999 shared"):
        gate(scores("v2"), Scores("v1", champion.rows.head(-1)))


def test_sides_with_different_labels_are_refused() -> None:
    champion = scores("v1")
    relabelled = Scores("v1", champion.rows.with_columns(is_fraud=~pl.col("is_fraud")))
    with pytest.raises(ConvergenceError, match="3000 of 3000 labels differ"):
        gate(scores("v2"), relabelled)


GOOD = Served(seconds_per_row=0.0001, size=100_000, parity=1e-8, leaks=0)


def test_a_good_challenger_passes_every_rule() -> None:
    verdict = gate(scores("v2", skill=4), scores("v1", skill=3, seed=1), served=GOOD)
    assert verdict.passed
    assert verdict.rules["rule"].to_list() == [
        *("invalid_scores", "beats_trivial_baseline", "not_worse_than_champion", "calibration"),
        *("latency", "size", "leakage", "onnx_parity"),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seconds_per_row": 0.5}, "latency FAILED: 99 % of rows are scored within 0.50000 s, 0.00200 s allowed"),
        ({"size": 80_000_000}, "size FAILED: 80,000,000 bytes, 50,000,000 allowed"),
        ({"leaks": 2}, "leakage FAILED: 2 features know their future, 0 allowed"),
        ({"parity": 1e-3}, "onnx_parity FAILED: graph and library differ by 1.0e-03, 1e-05 allowed"),
        ({"parity": float("nan")}, "onnx_parity FAILED: not computed, the values are invalid"),
        ({"seconds_per_row": float("nan")}, "latency FAILED: not computed, the values are invalid"),
    ],
    ids=["slow", "large", "leaking", "other-than-its-library", "parity-unknown", "latency-unknown"],
)
def test_a_challenger_that_may_not_be_served_is_refused_in_words(change: dict[str, float], words: str) -> None:
    verdict = gate(scores("v2", skill=4), None, served=replace(GOOD, **change))
    assert not verdict.passed
    assert verdict.rules.filter(~pl.col("passed")).height == 1
    assert words in verdict.reason


@pytest.mark.parametrize("spoilt", [pl.col("score") ** 0.2, pl.col("score") / 20], ids=["too-high", "too-low"])
def test_a_badly_calibrated_challenger_is_refused_however_well_it_ranks(spoilt: pl.Expr) -> None:
    good = scores("v2", skill=4)
    verdict = gate(with_scores(good, spoilt), good)
    assert verdict.rules.filter(~pl.col("passed"))["rule"].to_list() == ["calibration"]
    assert "calibration FAILED: calibration error 0." in verdict.reason


def test_the_calibration_error_is_the_mean_gap_over_bins_of_equally_many_rows() -> None:
    label, score = pl.Series([0, 0, 1, 0]), pl.Series([0.1, 0.3, 0.6, 0.8])
    assert equal_mass_calibration_error(label, score, bins=2) == pytest.approx((0.2 + 0.2) / 2)
    assert equal_mass_calibration_error(label, score, bins=1) == pytest.approx(0.2)


def test_chance_alone_does_not_make_a_calibrated_model_fail() -> None:
    refused = sum(not gate(scores("v", skill=4, days=1, seed=n), None).passed for n in range(40))
    assert refused == 0


def test_limits_are_the_callers() -> None:
    strict = binary("is_fraud", "transaction_id", limits=Limits(size=10))
    assert not gate(scores("v2", skill=4), None, served=GOOD, task=strict).passed


@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_poisoned_labels_is_refused(seed: int) -> None:
    """5 % of the training labels flipped, more than there are frauds: the probabilities no longer hold."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(seed)
    fraud = random.random(12_000) < 0.02
    seen = random.normal(size=(12_000, 3)) + 2 * fraud[:, None]
    train, test = slice(0, 9_000), slice(9_000, None)
    flipped = fraud[train] ^ (random.random(9_000) < 0.05)

    def trained(version: str, label: np.ndarray) -> Scores:
        score = LogisticRegression().fit(seen[train], label).predict_proba(seen[test])[:, 1]
        days = [JUNE + timedelta(days=n // 300) for n in range(3_000)]
        rows = {"transaction_id": range(3_000), "event_date": days, "is_fraud": fraud[test], "score": score}
        return Scores(version, pl.DataFrame(rows))

    clean, poisoned = trained("v1", fraud[train]), trained("v2", flipped)
    assert gate(clean, None).passed
    verdict = gate(poisoned, clean)
    assert not verdict.passed
    assert "calibration FAILED" in verdict.reason
