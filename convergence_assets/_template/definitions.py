"""The use case as Dagster sees it."""

import dagster as dg

from asset_checks.leakage import leakage_check
from convergence_assets._template import features
from convergence_assets._template.arrivals import TOPIC, events_topic, raw_template_events
from convergence_assets._template.feature_views import VIEW, VIEWS
from convergence_assets._template.model import GATED

__all__ = ["RELEASABLE", "RETRAINING", "TOPIC", "UNITED", "VIEWS", "defs"]

RELEASABLE, RETRAINING = GATED.declared.releasable, GATED.retraining
UNITED = {"template/template_events": features.event_rows}

defs = dg.Definitions(
    assets=[events_topic, raw_template_events, *dg.load_assets_from_modules([features]), *GATED.assets],
    asset_checks=[
        leakage_check(
            features.template_features,
            VIEW,
            features.feature_rows,
            sources={"template_events": "arrived_at"},
        ),
        *GATED.checks,
    ],
    jobs=GATED.jobs,
)
