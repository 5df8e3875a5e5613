"""What every table of the use case holds: columns, rules and documentation come from here."""

from datetime import date
from typing import Annotated

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns

Time = Annotated[pl.Datetime, "us", "UTC"]


class Event(pa.DataFrameModel):
    """What every row with a time has."""

    event_date: date = pa.Field(description="UTC date of event_time; the partition")
    event_time: Time = pa.Field(description="When it happened")

    class Config(StrictColumns):
        """Columns are as declared."""


class TemplateEvent(Event):
    """One event, without its outcome: no feature can see that before it was known."""

    arrived_at: Time = pa.Field(description="When the platform could first have known it")
    event_id: int = pa.Field(ge=0, unique=True, description="Business key; also the order of simultaneous events")
    entity_id: int = pa.Field(ge=0, description="Who or what it is about")
    value: float = pa.Field(ge=0, le=1_000, description="What was measured")


class RawTemplateEvent(Event):
    """A message as it arrived, outcome included: the source publishes both in one row."""

    arrived_at: Time = pa.Field(description="When the platform could first have known it")
    event_id: int = pa.Field(ge=0, description="Business key; repeats and corrections share it")
    entity_id: int = pa.Field(ge=0, description="Who or what it is about")
    value: float = pa.Field(ge=0, le=1_000, description="What was measured")
    outcome: bool = pa.Field(description="What came of it")
    source: str = pa.Field(description="Partition of the topic that the message came from")
    offset: int = pa.Field(ge=0, description="Position of the message in its source")


class TemplateLabel(Event):
    """What came of an event, and when that was known."""

    label_time: Time = pa.Field(
        description="When the outcome became known", metadata={"from": ["raw_template_events.event_time"]}
    )
    event_id: int = pa.Field(ge=0, unique=True, description="The event that the outcome is of")
    outcome: bool = pa.Field(description="What came of it")


class ScoredTemplateEvent(Event):
    """Which event is scored."""

    event_id: int = pa.Field(unique=True, description="The event")
