"""From raw messages to features: pure functions, and assets that are thin shells over them."""

import dagster as dg
import polars as pl

from convergence_assets._template.arrivals import FIRST_DAY, LAST_DAY
from convergence_assets._template.contracts import TemplateDailyValue
from convergence_assets.partitions import daily
from resources.lake import lake_asset

DAILY = daily(FIRST_DAY, LAST_DAY)


def daily_values(events: pl.LazyFrame) -> pl.LazyFrame:
    """Events and mean value of each entity and day."""
    per_day = events.group_by("event_date", "entity_id")
    return per_day.agg(events=pl.len().cast(pl.Int64), mean_value=pl.col("value").mean()).sort(
        "event_date", "entity_id"
    )


@lake_asset(
    contract=TemplateDailyValue,
    partitions_def=DAILY,
    ins={"raw_template_events": dg.AssetIn(key_prefix="template")},
    key_prefix="template",
    group_name="template",
    owners=["team:template"],
    kinds={"polars", "deltalake"},
    tags={"layer": "feature"},
    code_version="1",
)
def template_daily_values(raw_template_events: pl.LazyFrame) -> pl.LazyFrame:
    """Events and mean value per entity and day."""
    return daily_values(raw_template_events)
