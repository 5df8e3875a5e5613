"""What arrives and how it is decoded."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from convergence.arrivals.topics import Topic
from convergence_assets._template.contracts import RawTemplateEvent

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2024, 2, 11)


def history(data: Path | None) -> tuple[pl.LazyFrame, str]:
    """Messages to replay, and their origin: read the published data set below `data` here."""
    first = datetime.combine(FIRST_DAY, datetime.min.time(), UTC)
    end = datetime.combine(LAST_DAY + timedelta(days=1), datetime.min.time(), UTC)
    times = pl.datetime_range(first, end, "15m", closed="left", time_unit="us", eager=True)
    random = np.random.default_rng(0)
    entity = random.integers(300, size=len(times))
    value = random.lognormal(2 + entity / 300, 0.5).clip(0, 999)
    outcome = random.random(len(times)) < 1 / (1 + np.exp(3 - value / 10))
    columns = {"id": range(len(times)), "time": times, "entity": entity, "value": value.round(2), "outcome": outcome}
    return pl.LazyFrame(columns), "SIMULATED HERE: the greater the value the likelier the outcome"


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
    renames={"id": "event_id", "time": "event_time", "entity": "entity_id"},
    history=history,
)
