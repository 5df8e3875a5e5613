"""The dataset and feature assets: thin shells over pure functions."""

from datetime import datetime

import dagster as dg
import polars as pl

from convergence.features.windows import compute
from convergence_assets._template.arrivals import FIRST_DAY, LAST_DAY
from convergence_assets._template.contracts import TemplateEvent, TemplateLabel
from convergence_assets._template.datasets import event_rows, label_rows
from convergence_assets._template.feature_views import VIEW, TemplateFeatures
from convergence_assets.partitions import daily, window
from resources.lake import lake_asset

DAILY = daily(FIRST_DAY, LAST_DAY)
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
