"""The use case as Dagster sees it."""

import dagster as dg

from asset_checks.leakage import leakage_check
from convergence_assets._parts.arrivals import arrivals
from convergence_assets._template import features
from convergence_assets._template.feature_views import VIEW
from convergence_assets._template.model import GATED
from convergence_assets._template.use_case import USE_CASE

_KNOWN = {"template_events": "arrived_at"}

defs = dg.Definitions(
    assets=[*arrivals(USE_CASE), *dg.load_assets_from_modules([features]), *GATED.assets],
    asset_checks=[
        leakage_check(features.template_features, VIEW, features.feature_rows, sources=_KNOWN),
        *GATED.checks,
    ],
    jobs=GATED.jobs,
)
