"""Measures of a binary score, for rows and for cards, with intervals that resample whole days.

Days and not rows are resampled because the transactions of a day share its frauds: row intervals come out too narrow.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from convergence.errors import ConvergenceError


class OneClassError(ConvergenceError):
    """The labels hold one class only, so a ranking measure is not defined on them."""


class Interval(NamedTuple):
    """A measure on all rows with its bootstrap interval and standard error, in the measure's own unit."""

    estimate: float
    low: float
    high: float
    standard_error: float


class OperatingPoint(NamedTuple):
    """What a threshold does: rows with a score of at least `threshold` are alerts; all shares in [0, 1]."""

    threshold: float
    precision: float
    recall: float
    false_positive_rate: float


def average_precision(label: ArrayLike, score: ArrayLike, *, weight: ArrayLike | None = None) -> float:
    """Area under the precision-recall curve as sum of (R_n - R_n-1) P_n, in [0, 1], by scikit-learn.

    Args:
        label: n values, Boolean or 0/1.
        score: n finite values, higher means more likely positive.
        weight: how many rows each stands for, positive and finite; one each unless given.

    Raises:
        OneClassError: the labels hold one class only.
        ConvergenceError: lengths differ, a label is not 0/1, a score is not finite, or a weight not positive.
    """
    from sklearn.metrics import average_precision_score

    labels, scores = _labels_and_scores(label, score)
    found = float(average_precision_score(labels, scores, sample_weight=_weights(weight, labels)))
    return min(found, 1.0)  # a sum of rounded steps: that of a perfect order may be a little more


def roc_auc(label: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve, in [0, 1], by scikit-learn; arguments and errors as `average_precision`."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_labels_and_scores(label, score)))


def base_rate_average_precision(label: ArrayLike, *, weight: ArrayLike | None = None) -> float:
    """Average precision of the trivial baseline, a constant score: the share of positives.

    Raises:
        ConvergenceError: there is no label, one is not 0/1, or a weight is not positive.
    """
    labels = _labels(label)
    return float(np.average(labels, weights=_weights(weight, labels)))


def at_threshold(
    label: ArrayLike, score: ArrayLike, threshold: float, *, weight: ArrayLike | None = None
) -> OperatingPoint:
    """Precision, recall and false-positive rate of alerting at a threshold; precision is 0 without an alert.

    Arguments and errors as `average_precision`.
    """
    labels, scores = _labels_and_scores(label, score)
    weights = _weights(weight, labels)
    alert, positive = scores >= threshold, labels == 1
    hits, false = weights[alert & positive].sum(), weights[alert & ~positive].sum()
    return OperatingPoint(
        float(threshold),
        float(hits / (hits + false)) if alert.any() else 0.0,
        float(hits / weights[positive].sum()),
        float(false / weights[~positive].sum()),
    )


def at_false_positive_rate(
    label: ArrayLike, score: ArrayLike, rate: float = 0.005, *, weight: ArrayLike | None = None
) -> OperatingPoint:
    """The lowest threshold whose false-positive rate is at most `rate`; a tie counts as a whole.

    Arguments and errors as `average_precision`.
    """
    labels, scores = _labels_and_scores(label, score)
    weights = _weights(weight, labels)
    order = np.argsort(-scores[labels == 0], kind="stable")
    negatives, passed = scores[labels == 0][order], np.cumsum(weights[labels == 0][order])
    allowed = int(np.searchsorted(passed, rate * passed[-1], side="right"))
    above = scores[scores > negatives[allowed]] if allowed < len(negatives) else scores
    threshold = above.min() if len(above) else np.nextafter(scores.max(), np.inf)
    return at_threshold(labels, scores, threshold, weight=weights)


def brier(label: ArrayLike, score: ArrayLike) -> float:
    """Mean squared difference of probability and label, in [0, 1]; arguments and errors as `average_precision`."""
    labels, scores = _labels_and_scores(label, score)
    return float(np.mean((scores - labels) ** 2))


def calibration_error(label: ArrayLike, score: ArrayLike, *, bins: int = 15) -> float:
    """Expected calibration error: |share of positives - mean probability| over equal bins of [0, 1], by their rows.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017. Scores must lie in [0, 1]; other errors as
    `average_precision`.
    """
    labels, scores = _labels_and_scores(label, score)
    if scores.min() < 0 or scores.max() > 1:
        msg = f"scores lie in [{scores.min():g}, {scores.max():g}], expected probabilities in [0, 1]; calibrate them"
        raise ConvergenceError(msg)
    bin_of = np.minimum((scores * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(bin_of, labels - scores, bins)).sum() / len(labels))


def lift(label: ArrayLike, score: ArrayLike, share: float) -> float:
    """Share of positives among the highest scored `share` of rows, relative to that of all rows.

    Ties go in row order; at least one row is taken. Arguments and errors as `average_precision`.
    """
    labels, scores = _labels_and_scores(label, score)
    top = np.argsort(-scores, kind="stable")[: max(1, round(share * len(labels)))]
    return float(labels[top].mean() / labels.mean())


def cost_curve(
    label: ArrayLike,
    score: ArrayLike,
    amount: ArrayLike,
    *,
    alert_cost: float,
    shares: Sequence[float] = (0, 0.0025, 0.005, 0.01, 0.02, 0.05, 1),
) -> pl.DataFrame:
    """What fraud and its investigation cost when the most suspicious share of rows is looked at.

    Cost = amounts of the frauds that are not looked at + `alert_cost` for each row that is.

    Args:
        label: n values, Boolean or 0/1.
        score: n finite values; ties go in row order.
        amount: n values in the currency of `alert_cost`.
        alert_cost: cost of one alert.
        shares: shares of the rows, in [0, 1].

    Returns:
        `share`, `alerts` (Int64), `missed` (amount of missed fraud), `cost`: one row per share.

    Raises:
        As `average_precision`.
    """
    labels, scores = _labels_and_scores(label, score)
    losses = (np.asarray(amount, dtype=np.float64) * labels)[np.argsort(-scores, kind="stable")]
    missed = np.append(np.cumsum(losses[::-1])[::-1], 0.0)
    alerts = np.array([round(share * len(labels)) for share in shares])
    frame = pl.DataFrame({"share": [float(s) for s in shares], "alerts": alerts, "missed": missed[alerts].round(2)})
    return frame.with_columns(cost=pl.col("missed") + pl.col("alerts") * alert_cost)


def card_precision_by_day(frame: pl.DataFrame, k: int = 100) -> pl.DataFrame:
    """Share of compromised cards among the k most suspicious ones, for each day.

    A card's score and label are its highest of the day. A compromised card within the top k counts as detected and
    leaves the following days. Ties go to the lower customer_id. The divisor is k even on days with fewer cards.
    Source: `card_precision_top_k` of the Fraud Detection Handbook, chapter 4.

    Args:
        frame: rows with `event_date`, `customer_id`, `is_fraud` (Boolean or 0/1) and `score` (finite).
        k: cards that can be investigated per day, at least 1.

    Returns:
        `event_date`, `precision` (Float64, in [0, 1]), one row per day in date order.

    Raises:
        ConvergenceError: k is below 1, a score is not finite or `frame` is empty.
    """
    if k < 1 or frame.is_empty():
        msg = f"card precision needs k of at least 1 and at least one row; found k={k} and {frame.height} rows"
        raise ConvergenceError(msg)
    _finite(frame["score"].to_numpy())
    cards = (
        frame.group_by("event_date", "customer_id")
        .agg(pl.col("score").max(), pl.col("is_fraud").cast(pl.Boolean).max())
        .sort("event_date", pl.col("score").neg(), "customer_id")
    )
    detected = pl.Series("customer_id", [], dtype=cards.schema["customer_id"])
    days, precisions = [], []
    for day in cards.partition_by("event_date", maintain_order=True):
        top = day.filter(~pl.col("customer_id").is_in(detected.implode())).head(k)
        found = top.filter("is_fraud")["customer_id"]
        days.append(day["event_date"][0])
        precisions.append(found.len() / k)
        detected = pl.concat([detected, found])
    return pl.DataFrame({"event_date": days, "precision": precisions})


def card_precision_at_k(frame: pl.DataFrame, k: int = 100) -> float:
    """Mean over days of `card_precision_by_day`, in [0, 1]: the Handbook's card precision top-k."""
    return float(card_precision_by_day(frame, k)["precision"].to_numpy().mean())


def bootstrap_interval(
    frame: pl.DataFrame,
    metric: Callable[[pl.DataFrame], float],
    *,
    by: str = "event_date",
    repetitions: int = 200,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of a measure when whole days are drawn with replacement.

    A measure that itself works day by day is resampled over its daily values, because a repeated day would melt into
    one: `bootstrap_interval(card_precision_by_day(frame), lambda days: days["precision"].mean())`.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13.

    Args:
        frame: rows with the column `by`.
        metric: measure of a frame; draws on which it raises OneClassError are left out.
        by: column whose values are drawn together.
        repetitions: number of draws, at least 2.
        seed: seed of the draws.
        level: coverage of the interval, in (0, 1).

    Raises:
        ConvergenceError: fewer than 2 days or repetitions, or fewer than half of the draws have both classes.
    """
    groups = frame.partition_by(by, maintain_order=True)
    if len(groups) < 2 or repetitions < 2:
        msg = f"a bootstrap needs at least 2 values of {by!r} and 2 repetitions; found {len(groups)} and {repetitions}"
        raise ConvergenceError(msg)
    # In value order, so that the same rows in another order give the same interval.
    groups.sort(key=lambda group: group[by][0])
    values = []
    for draw in np.random.default_rng(seed).integers(len(groups), size=(repetitions, len(groups))):
        try:
            values.append(metric(pl.concat([groups[i] for i in draw])))
        except OneClassError:
            continue
    if len(values) < max(2, repetitions / 2):
        msg = (
            f"only {len(values)} of {repetitions} draws of {by!r} hold both classes; expected at least half; "
            "measure over more days"
        )
        raise ConvergenceError(msg)
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(metric(frame)), float(low), float(high), float(np.std(values, ddof=1)))


def _labels_and_scores(label: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    labels, scores = _labels(label), _finite(score)
    if len(labels) != len(scores):
        msg = f"{len(labels)} labels and {len(scores)} scores; expected one score per label"
        raise ConvergenceError(msg)
    if labels.min() == labels.max():
        msg = f"all {len(labels)} labels are {labels[0]:.0f}; expected both 0 and 1; measure over more days"
        raise OneClassError(msg)
    return labels, scores


def _labels(label: ArrayLike) -> NDArray[np.float64]:
    labels = np.asarray(label, dtype=np.float64)
    wrong = int((~np.isin(labels, (0, 1))).sum())
    if wrong or not len(labels):
        msg = f"{wrong} of {len(labels)} labels are neither 0 nor 1; expected at least one label and no nulls"
        raise ConvergenceError(msg)
    return labels


def _weights(weight: ArrayLike | None, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.ones(len(labels)) if weight is None else np.asarray(weight, dtype=np.float64)
    wrong = int((~(np.isfinite(weights) & (weights > 0))).sum())
    if wrong or len(weights) != len(labels):
        msg = f"{len(weights)} weights for {len(labels)} labels, {wrong} not positive; expected one positive per label"
        raise ConvergenceError(msg)
    return weights


def _finite(score: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(score, dtype=np.float64)
    wrong = int((~np.isfinite(scores)).sum())
    if wrong:
        msg = f"{wrong} of {len(scores)} scores are null, NaN or infinite; expected finite scores; check the features"
        raise ConvergenceError(msg)
    return scores
