"""A page a week on which people see how a model's inputs moved; made on demand, because Evidently is slow."""

from collections.abc import Callable, Iterable
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.models.gated import Schedule
from convergence.monitoring.contracts import DriftReport
from convergence.monitoring.evidently_report import write_report


def weekly_pages(
    inputs: pl.LazyFrame,
    profiles: pl.DataFrame,
    weeks: Iterable[date],
    fit: Schedule,
    page: Callable[[str], tuple[Path, str]],
) -> pl.DataFrame:
    """DriftReport rows: the week before each date beside the days that its champion was fitted on.

    Args:
        inputs: `event_date` and the model's inputs, of those days and weeks.
        profiles: ScoreProfile rows, which say who scored a day.
        weeks: the days after the weeks that are shown.
        fit: the days around a model's as-of date.
        page: where the page of a name is written, and how it is named in a table.

    Raises:
        ModelError: nobody scored a day of the week.
    """
    rows = []
    for week in weeks:
        shown = week - timedelta(days=7), week - timedelta(days=1)
        served = profiles.filter(pl.col("event_date").is_between(*shown))
        if served.is_empty():
            raise ModelError(f"no scores of the week before {week}: materialize the score profiles of it first")
        spans = fit.trained_on(served.sort("event_date", "rows")["model_as_of"][-1]), shown
        old, new = (inputs.filter(pl.col("event_date").is_between(*s)).drop("event_date").collect() for s in spans)
        file, name = page(f"{week}.html")
        rows.append({"event_date": week, "page": name, **write_report(old, new, file)._asdict()})
    return pl.DataFrame(rows, schema=schema_of(DriftReport))
