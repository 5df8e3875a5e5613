"""From raw messages to datasets, as pure functions: repeats removed, corrections applied, outcomes with their time."""

from datetime import timedelta

import polars as pl

from convergence.lake.contracts import schema_of
from convergence_assets._template.contracts import TemplateEvent, TemplateLabel

LABEL_DELAY = timedelta(days=1)


def without_repeats(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row per day and event_id: repeats are dropped, of corrections the one that arrived last wins."""
    newest = raw.sort("arrived_at", "source", "offset").unique(["event_date", "event_id"], keep="last")
    return newest.sort("event_time", "event_id")


def event_rows(raw: pl.LazyFrame) -> pl.LazyFrame:
    """TemplateEvent rows of the days of `raw`."""
    return without_repeats(raw).select(schema_of(TemplateEvent).names())


def label_rows(raw: pl.LazyFrame) -> pl.LazyFrame:
    """TemplateLabel rows of the days of `raw`: known LABEL_DELAY after the event."""
    labelled = without_repeats(raw).with_columns(label_time=pl.col("event_time") + LABEL_DELAY)
    return labelled.select(schema_of(TemplateLabel).names())
