"""Measures against their definitions written out as loops."""

from collections import defaultdict
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convergence.errors import ConvergenceError
from convergence.models.metrics import (
    OneClassError,
    at_false_positive_rate,
    at_threshold,
    average_precision,
    base_rate_average_precision,
    bootstrap_interval,
    brier,
    calibration_error,
    card_precision_at_k,
    card_precision_by_day,
    cost_curve,
    lift,
    roc_auc,
)

DAY = date(2018, 8, 1)
# Few distinct scores, so that ties are frequent.
LABELLED = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=40)
SCORED = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 9), st.sampled_from([0, 0, 1]), st.integers(0, 4)),
    min_size=1,
    max_size=80,
)


def scored(rows: list[tuple[int, int, int, float]]) -> pl.DataFrame:
    """Rows of (day number, customer, fraud, score)."""
    frame = pl.DataFrame(rows, schema=["day", "customer_id", "is_fraud", "score"], orient="row")
    return frame.with_columns(event_date=DAY + pl.duration(days="day"))


def handbook_card_precision(rows: list[tuple[int, int, int, float]], k: int) -> list[float]:
    detected, precisions = set(), []
    for day in sorted({row[0] for row in rows}):
        score, fraud = defaultdict(float), defaultdict(int)
        for row_day, customer, is_fraud, value in rows:
            if row_day == day and customer not in detected:
                score[customer] = max(score[customer], value)
                fraud[customer] = max(fraud[customer], is_fraud)
        top = sorted(score, key=lambda customer: (-score[customer], customer))[:k]
        found = [customer for customer in top if fraud[customer] == 1]
        precisions.append(len(found) / k)
        detected.update(found)
    return precisions


def ap_of(frame: pl.DataFrame) -> float:
    return average_precision(frame["is_fraud"], frame["score"])


@given(LABELLED)
@settings(deadline=None)
def test_average_precision_is_the_sum_of_recall_steps_times_precision(rows) -> None:
    positives = sum(label for label, _ in rows)
    assume(0 < positives < len(rows))
    expected, recall = 0.0, 0.0
    for threshold in sorted({score for _, score in rows}, reverse=True):
        flagged = [label for label, score in rows if score >= threshold]
        expected += (sum(flagged) / positives - recall) * sum(flagged) / len(flagged)
        recall = sum(flagged) / positives
    assert average_precision([label for label, _ in rows], [score for _, score in rows]) == pytest.approx(expected)


@given(LABELLED)
@settings(deadline=None)
def test_roc_auc_is_the_share_of_rightly_ordered_pairs(rows) -> None:
    positive = [score for label, score in rows if label]
    negative = [score for label, score in rows if not label]
    assume(positive and negative)
    won = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    found = roc_auc([label for label, _ in rows], [score for _, score in rows])
    assert found == pytest.approx(won / len(positive) / len(negative))


@given(rows=SCORED, k=st.integers(1, 12))
@settings(deadline=None)
def test_card_precision_equals_the_handbooks_day_by_day(rows, k) -> None:
    assert card_precision_by_day(scored(rows), k)["precision"].to_list() == handbook_card_precision(rows, k)
    assert card_precision_at_k(scored(rows), k) == pytest.approx(np.mean(handbook_card_precision(rows, k)))


@given(rows=SCORED, random=st.randoms(use_true_random=False))
@settings(deadline=None)
def test_card_precision_does_not_depend_on_row_order(rows, random) -> None:
    shuffled = random.sample(rows, len(rows))
    assert card_precision_by_day(scored(rows), 3).equals(card_precision_by_day(scored(shuffled), 3))


def test_a_detected_card_leaves_the_following_days() -> None:
    frame = scored([(0, 1, 1, 0.9), (1, 1, 1, 0.9), (1, 2, 0, 0.1)])
    assert card_precision_by_day(frame, 1)["precision"].to_list() == [1.0, 0.0]


def test_a_tie_goes_to_the_lower_customer() -> None:
    assert card_precision_at_k(scored([(0, 2, 1, 0.5), (0, 1, 0, 0.5)]), 1) == 0.0


def test_a_constant_score_has_the_base_rate_as_average_precision() -> None:
    label = pl.Series([True, False, False, True, False])
    assert base_rate_average_precision(label) == average_precision(label, np.full(5, 0.3)) == 0.4


@pytest.mark.parametrize("measure", [average_precision, roc_auc])
def test_a_single_class_is_refused(measure) -> None:
    with pytest.raises(OneClassError, match="all 3 labels are 0; expected both 0 and 1"):
        measure([0, 0, 0], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("score", [[0.1, float("nan")], [0.1, float("inf")], pl.Series([0.1, None])])
def test_a_score_that_is_not_finite_is_refused(score) -> None:
    with pytest.raises(ConvergenceError, match="1 of 2 scores are null, NaN or infinite"):
        average_precision([0, 1], score)


@pytest.mark.parametrize("label", [[0, 2], pl.Series([True, None]), pl.Series([1, None])])
def test_a_label_that_is_neither_0_nor_1_is_refused(label) -> None:
    with pytest.raises(ConvergenceError, match="1 of 2 labels are neither 0 nor 1"):
        average_precision(label, [0.1, 0.2])


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(ConvergenceError, match="2 labels and 3 scores"):
        roc_auc([0, 1], [0.1, 0.2, 0.3])


def random_days(days: int, seed: int = 1) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    size = days * 200
    fraud = random.random(size) < 0.1
    score = random.random(size) + 0.4 * fraud
    rows = zip(np.repeat(np.arange(days), 200), random.integers(50, size=size), fraud, score, strict=True)
    return scored([(int(d), int(c), int(f), float(s)) for d, c, f, s in rows])


def test_the_interval_holds_the_estimate_on_all_rows() -> None:
    frame = random_days(14)
    interval = bootstrap_interval(frame, ap_of, repetitions=100)
    assert interval.low < interval.estimate == ap_of(frame) < interval.high


def test_the_standard_error_of_a_mean_is_that_of_the_drawn_days() -> None:
    days = pl.DataFrame({"event_date": [DAY + timedelta(days=i) for i in range(30)], "value": np.linspace(0, 1, 30)})
    found = bootstrap_interval(days, lambda drawn: float(drawn["value"].to_numpy().mean()), repetitions=3000)
    assert found.standard_error == pytest.approx(days["value"].to_numpy().std() / np.sqrt(30), rel=0.05)


def test_the_same_rows_in_another_order_give_the_same_interval() -> None:
    frame = random_days(7)
    shuffled = frame.sample(fraction=1, shuffle=True, seed=3)
    assert bootstrap_interval(frame, ap_of) == pytest.approx(bootstrap_interval(shuffled, ap_of), rel=1e-12)


def test_draws_without_a_fraud_are_left_out() -> None:
    frame = scored([(0, 1, 1, 0.9), (0, 2, 0, 0.1), (1, 3, 0, 0.5), (2, 4, 1, 0.2)])
    assert bootstrap_interval(frame, ap_of).low > 0


def test_too_few_draws_with_a_fraud_are_refused() -> None:
    calls = iter(range(1000))

    def mostly_undefined(drawn: pl.DataFrame) -> float:
        if next(calls) % 4:
            raise OneClassError
        return 0.5

    with pytest.raises(ConvergenceError, match="50 of 200 draws"):
        bootstrap_interval(random_days(2), mostly_undefined)


def test_a_single_day_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="at least 2 values of 'event_date'"):
        bootstrap_interval(random_days(1), ap_of)


# Operating points, calibration and cost

PROBABILITIES = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=60)


def both_classes(rows: list[tuple[bool, int]]) -> tuple[np.ndarray, np.ndarray]:
    label, score = np.array([r[0] for r in rows]), np.array([r[1] / 20 for r in rows])
    assume(label.any() and not label.all())
    return label, score


@given(PROBABILITIES, st.integers(0, 10))
def test_the_threshold_is_the_lowest_that_keeps_the_false_positive_rate(
    rows: list[tuple[bool, int]], tenths: int
) -> None:
    label, score = both_classes(rows)
    found = at_false_positive_rate(label, score, tenths / 10)
    rates = {t: (score[~label] >= t).mean() for t in score}
    allowed = [t for t, rate in rates.items() if rate <= tenths / 10]
    if allowed:
        assert found.threshold == min(allowed)
    else:
        assert found[1:] == (0.0, 0.0, 0.0)
    assert found.false_positive_rate <= tenths / 10


@given(PROBABILITIES, st.integers(-1, 21))
def test_an_operating_point_counts_alerts_from_the_threshold_on(rows: list[tuple[bool, int]], twentieths: int) -> None:
    label, score = both_classes(rows)
    found = at_threshold(label, score, twentieths / 20)
    hits = sum(y and s >= twentieths / 20 for y, s in zip(label, score, strict=True))
    alerts = sum(s >= twentieths / 20 for s in score)
    assert found.precision == pytest.approx(hits / alerts if alerts else 0)
    assert found.recall == pytest.approx(hits / label.sum())
    assert found.false_positive_rate == pytest.approx((alerts - hits) / (~label).sum())


@given(PROBABILITIES, st.data())
def test_a_row_of_weight_n_counts_as_n_rows(rows: list[tuple[bool, int]], data: st.DataObject) -> None:
    label, score = both_classes(rows)
    times = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(rows), max_size=len(rows))))
    many = np.repeat(label, times), np.repeat(score, times)
    assert average_precision(label, score, weight=times) == pytest.approx(average_precision(*many))
    assert base_rate_average_precision(label, weight=times) == pytest.approx(base_rate_average_precision(many[0]))
    assert at_threshold(label, score, 0.5, weight=times) == pytest.approx(at_threshold(*many, 0.5))
    found = at_false_positive_rate(label, score, 0.25, weight=times)
    assert found == pytest.approx(at_false_positive_rate(*many, 0.25))


@pytest.mark.parametrize("weight", [[1, 0], [1, float("nan")], [1], [1, -1]], ids=str)
def test_weights_that_are_not_positive_and_one_per_row_are_refused(weight: list[float]) -> None:
    with pytest.raises(ConvergenceError, match="expected one positive per label"):
        average_precision([0, 1], [0.1, 0.2], weight=weight)


@given(PROBABILITIES)
def test_calibration_error_is_the_weighted_gap_of_15_bins(rows: list[tuple[bool, int]]) -> None:
    label, score = both_classes(rows)
    expected = 0.0
    for b in range(15):
        inside = [i for i, s in enumerate(score) if b <= s * 15 < b + 1 or (b == 14 and s == 1)]
        if inside:
            expected += len(inside) / len(score) * abs(label[inside].mean() - score[inside].mean())
    assert calibration_error(label, score) == pytest.approx(expected, abs=1e-12)


@given(PROBABILITIES)
def test_brier_is_scikit_learns(rows: list[tuple[bool, int]]) -> None:
    from sklearn.metrics import brier_score_loss

    label, score = both_classes(rows)
    assert brier(label, score) == pytest.approx(brier_score_loss(label, score))


def test_calibration_error_takes_probabilities_only() -> None:
    with pytest.raises(ConvergenceError, match=r"scores lie in \[-1, 2\], expected probabilities"):
        calibration_error([0, 1], [-1.0, 2.0])


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 100_000)), min_size=2, max_size=40))
def test_cost_is_missed_amounts_and_alerts(rows: list[tuple[bool, int, int]]) -> None:
    label, score, cents = (np.array(column) for column in zip(*rows, strict=True))
    assume(label.any() and not label.all())
    amount = cents / 100
    curve = cost_curve(label, score, amount, alert_cost=3.0, shares=[0, 0.5, 1])
    order = sorted(range(len(rows)), key=lambda i: (-score[i], i))
    for share, alerts, missed, cost in curve.iter_rows():
        looked_at = order[: round(share * len(rows))]
        left = sum(amount[i] for i in order if i not in looked_at and label[i])
        assert (alerts, missed) == (len(looked_at), pytest.approx(left, abs=0.01))
        assert cost == pytest.approx(left + 3.0 * len(looked_at), abs=0.01)
    assert curve["missed"][-1] == 0


def test_lift_is_how_many_times_more_positives_the_top_has() -> None:
    label = [1, 1, 0, 1, 0, 0, 0, 0, 0, 0]
    score = np.arange(10, 0, -1)
    assert lift(label, score, 0.2) == pytest.approx(1.0 / 0.3)
    assert lift(label, score, 0.5) == pytest.approx(0.6 / 0.3)
    assert lift(label, score, 1.0) == pytest.approx(1.0)
    assert lift(label, score, 0.0) == pytest.approx(1.0 / 0.3)  # at least one row
