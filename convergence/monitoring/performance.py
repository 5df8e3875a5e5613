"""Whether scores that were issued are still as good as when their model was let in, told once labels are known."""

from typing import NamedTuple

import polars as pl

from convergence.models import metrics
from convergence.monitoring.drift import DRIFT, STABLE, WATCH


class Judgement(NamedTuple):
    """Average precision of issued scores with its 95 % interval, beside the baseline; `effect` 1 is the limit."""

    average_precision: float
    low: float
    high: float
    baseline: float
    limit: float
    effect: float
    verdict: str
    note: str


def judge_scores(labelled: pl.DataFrame, baseline: float, *, limit: float = 0.05) -> Judgement:
    """Judge rows with `event_date`, `score` and `is_fraud` against an average precision that was promised.

    Below the baseline by more than `limit` is drift if the interval (days resampled) excludes the baseline, and to be
    watched if it does not.

    Raises:
        ConvergenceError: fewer than two days, one class only, or scores that are not finite.
    """
    found = metrics.bootstrap_interval(
        labelled, lambda rows: metrics.average_precision(rows["is_fraud"], rows["score"]), repetitions=50
    )
    lost = baseline - found.estimate
    verdict = STABLE if lost <= limit else DRIFT if found.high < baseline else WATCH
    note = f"average precision {found.estimate:.3f}, {baseline:.3f} when the model was let in"
    return Judgement(found.estimate, found.low, found.high, baseline, limit, lost / limit, verdict, note)
