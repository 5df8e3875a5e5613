"""What arrives and how it is decoded."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl

from convergence.arrivals.topics import Topic
from convergence_assets._template.contracts import RawTemplateEvent

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2024, 1, 14)


def history(data: Path | None) -> tuple[pl.LazyFrame, str]:
    """Messages to replay, and their origin: read the published data set below `data` here."""
    hours = pl.datetime_range(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 14, 23, tzinfo=UTC), "1h", eager=True)
    frame = pl.DataFrame({"time": hours}).with_row_index("number")
    messages = frame.select("time", entity=pl.col("number") % 5, value=(pl.col("number") % 7).cast(pl.Float64))
    return messages.lazy(), "SIMULATED HERE: a counter"


TOPIC = Topic(
    name="template.events",
    table="template/raw_template_events",
    contract=RawTemplateEvent,
    first_day=FIRST_DAY,
    last_day=LAST_DAY,
    late_after=timedelta(hours=48),
    assumed_lateness=timedelta(0),
    clock="time",
    key="entity",
    renames={"time": "event_time", "entity": "entity_id"},
    history=history,
)
