"""The use case as Dagster sees it."""

import dagster as dg

from asset_checks.leakage import leakage_check
from convergence_assets._template import features
from convergence_assets._template.arrivals import TOPIC, events_topic, raw_template_events
from convergence_assets._template.feature_views import TEMPLATE_FEATURES, VIEWS
from convergence_assets._template.model import TEMPLATE

__all__ = ["RELEASABLE", "RETRAINING", "TOPIC", "UNITED", "VIEWS", "defs"]

RELEASABLE, RETRAINING = TEMPLATE.declared.releasable, TEMPLATE.retraining
UNITED = {"template/template_events": features.event_rows}

defs = dg.Definitions(
    assets=[events_topic, raw_template_events, *dg.load_assets_from_modules([features]), *TEMPLATE.assets],
    asset_checks=[
        leakage_check(
            features.template_features,
            TEMPLATE_FEATURES,
            features.feature_rows,
            sources={"template_events": "arrived_at"},
        ),
        *TEMPLATE.checks,
    ],
    jobs=TEMPLATE.jobs,
)
