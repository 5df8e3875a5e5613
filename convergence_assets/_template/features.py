"""From raw messages to features: pure functions, and assets that are thin shells over them."""

from datetime import datetime

import dagster as dg
import polars as pl

from convergence.features.windows import compute
from convergence.lake.contracts import schema_of
from convergence_assets._template.arrivals import DAILY
from convergence_assets._template.contracts import TemplateEvent, TemplateLabel
from convergence_assets._template.feature_views import VIEW, TemplateFeatures
from convergence_assets._template.use_case import LABEL_DELAY
from convergence_assets.partitions import window
from resources.lake import lake_asset

_OWNED = {
    "key_prefix": "template",
    "group_name": "template",
    "owners": ["team:template"],
    "partitions_def": DAILY,
    "kinds": {"polars", "deltalake"},
    "code_version": "1",
}
_WEEK = window(*VIEW.reach_back("template_events"))
_RAW = {"raw_template_events": dg.AssetIn(key_prefix="template")}


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


def feature_rows(template_events: pl.LazyFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Feature rows of the events with start <= event_time < end; earlier rows are their history."""
    return compute(VIEW, {"template_events": template_events}, start, end)


@lake_asset(contract=TemplateEvent, ins=_RAW, tags={"layer": "dataset"}, **_OWNED)
def template_events(raw_template_events: pl.LazyFrame) -> pl.LazyFrame:
    """Events, one row each: repeats are dropped, a correction replaces what it corrects."""
    return event_rows(raw_template_events)


@lake_asset(contract=TemplateLabel, ins=_RAW, tags={"layer": "dataset"}, **_OWNED)
def template_labels(raw_template_events: pl.LazyFrame) -> pl.LazyFrame:
    """Outcomes with the time they became known; whoever reads them must cut at label_time."""
    return label_rows(raw_template_events)


@lake_asset(
    contract=TemplateFeatures,
    ins={"template_events": dg.AssetIn(key_prefix="template", partition_mapping=_WEEK)},
    tags={"layer": "feature"},
    **_OWNED,
)
def template_features(context: dg.AssetExecutionContext, template_events: pl.LazyFrame) -> pl.DataFrame:
    """Features of each event as of its arrival. The declaration is `feature_views.py`."""
    return feature_rows(template_events, *context.partition_time_window)
