"""Whether scores that were issued are still as good as when their model was let in, told once labels are known."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from convergence.errors import ConvergenceError
from convergence.models.gated import GatedModel
from convergence.monitoring.drift import DRIFT, STABLE, WATCH


def performance_row(
    model: GatedModel, scores: pl.DataFrame, labels: pl.DataFrame, decisions: pl.DataFrame, as_of: date
) -> dict[str, Any]:
    """One row of Performance: the scores of the week whose labels are all known since the start of `as_of`.

    Below the baseline by more than the model's limit is drift if the interval (days resampled) excludes the baseline,
    and to be watched if it does not.

    Raises:
        ConvergenceError: the gate has never measured a model that issued scores; fewer than two days, one class only,
            or scores that are not finite.
    """
    task, delay, limit = model.task, model.schedule.delay_days, model.performance_limit
    assert limit is not None
    first, last = as_of - timedelta(days=delay + 7), as_of - timedelta(days=delay + 1)
    cut = datetime.combine(as_of, time(), UTC)
    known = labels.filter(pl.col("label_time") <= cut)
    known = known.select(*model.row, *(name for name in known.columns if name not in scores.columns))
    rows = scores.filter(pl.col("event_date").is_between(first, last)).join(known, on=model.row, maintain_order="left")
    measured = dict(decisions.select("challenger_version", model.gate_measure).iter_rows())
    issued = rows["model_version"].value_counts().rows()
    unknown = ", ".join(sorted(version for version, _ in issued if measured.get(version) is None))
    if unknown or not issued:
        raise ConvergenceError(
            f"scores of {first} to {last}: no baseline, because the gate did not measure {unknown or 'any model'}; "
            f"materialize {model.table('promotions')} and {model.table('scores')} of that week"
        )
    baseline = sum(measured[version] * number for version, number in issued) / rows.height
    measure, found = task.measure, task.judge(rows)
    lost = measure.gain(baseline, found.estimate)
    possible = measure.gain(baseline, found.high if measure.higher_is_better else found.low)
    judged = task.rows(rows)
    return {
        "event_date": as_of,
        "first_day": first,
        "last_day": last,
        "rows": rows.height,
        "base_rate": task.baseline(judged),
        "feature": measure.name,
        measure.name: found.estimate,
        f"{measure.name}_low": found.low,
        f"{measure.name}_high": found.high,
        "baseline": baseline,
        "limit": limit,
        "effect": lost / limit,
        "verdict": STABLE if lost <= limit else DRIFT if possible > 0 else WATCH,
        "note": f"{measure.words} {found.estimate:.3f}, {baseline:.3f} when the model was let in",
        **{figure.name: figure.of(judged) for figure in model.figures},
    }
