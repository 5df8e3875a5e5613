"""What every table of the use case holds."""

from datetime import date
from typing import Annotated

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns

Time = Annotated[pl.Datetime, "us", "UTC"]


class RawTemplateEvent(pa.DataFrameModel):
    """A message as it arrived."""

    event_date: date = pa.Field(description="UTC date of event_time; the partition")
    event_time: Time = pa.Field(description="When it happened")
    arrived_at: Time = pa.Field(description="When the platform could first have known it")
    entity_id: int = pa.Field(ge=0, description="Who or what it is about")
    value: float = pa.Field(ge=0, description="What was measured")
    source: str = pa.Field(description="Partition of the topic that the message came from")
    offset: int = pa.Field(ge=0, description="Position of the message in its source")

    class Config(StrictColumns):
        """Columns are as declared."""


class TemplateDailyValue(pa.DataFrameModel):
    """One entity on one day."""

    event_date: date = pa.Field(description="The day")
    entity_id: int = pa.Field(unique=True, description="Who or what it is about")
    events: int = pa.Field(
        gt=0,
        description="Events of the day",
        metadata={"from": ["raw_template_events.entity_id"]},
    )
    mean_value: float = pa.Field(
        ge=0,
        description="Mean of their values",
        metadata={"from": ["raw_template_events.value"]},
    )

    class Config(StrictColumns):
        """Columns are as declared."""
