"""The use case as Dagster sees it."""

import dagster as dg

from convergence_assets._template.arrivals import TOPIC, events_topic, raw_template_events
from convergence_assets._template.features import template_daily_values

__all__ = ["TOPIC", "defs"]

defs = dg.Definitions(assets=[events_topic, raw_template_events, template_daily_values])
