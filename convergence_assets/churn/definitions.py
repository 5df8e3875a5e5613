"""The churn use case as Dagster sees it."""

from datetime import timedelta

import dagster as dg

from convergence_assets.churn import features
from convergence_assets.churn.arrivals import TOPIC, customers_topic, raw_customers

__all__ = ["FRESH", "TOPIC", "UNITED", "defs"]

# Where a live source is configured: how long after its last materialization a table is overdue.
FRESH = {"churn/customer_features": timedelta(hours=25)}

UNITED = {"churn/customers": features.customer_rows}

defs = dg.Definitions(
    assets=[customers_topic, raw_customers, *dg.load_assets_from_modules([features])],
    asset_checks=[features.customer_features_leakage],
)
