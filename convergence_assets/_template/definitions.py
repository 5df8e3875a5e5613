"""The use case as Dagster sees it."""

import dagster as dg

from convergence_assets._parts.arrivals import arrivals
from convergence_assets._template.features import template_daily_values
from convergence_assets._template.use_case import USE_CASE

defs = dg.Definitions(assets=[*arrivals(USE_CASE), template_daily_values])
