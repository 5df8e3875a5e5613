"""The churn use case as Dagster sees it."""

from datetime import timedelta

import dagster as dg

from asset_checks.personal_data import personal_data_check
from convergence_assets.churn import campaign, cross_validation, evaluation, fairness, features, leaderboard
from convergence_assets.churn.arrivals import TOPIC, customers_topic, raw_customers
from convergence_assets.churn.feature_views import VIEWS
from convergence_assets.churn.model import CHURN
from convergence_assets.churn.pages import PAGES

__all__ = ["FRESH", "PAGES", "RELEASABLE", "RETRAINING", "TOPIC", "UNITED", "VIEWS", "defs"]

RELEASABLE, RETRAINING = CHURN.declared.releasable, CHURN.retraining

# Where a live source is configured: how long after its last materialization a table is overdue.
FRESH = {"churn/customer_features": timedelta(hours=25)}

UNITED = {"churn/customers": features.customer_rows}

defs = dg.Definitions(
    assets=[
        customers_topic,
        raw_customers,
        *CHURN.assets,
        *dg.load_assets_from_modules([features, leaderboard, evaluation, cross_validation, fairness, campaign]),
    ],
    asset_checks=[
        features.customer_features_leakage,
        personal_data_check(features.customers),
        cross_validation.goals,
        fairness.fairness_of_scores,
        *CHURN.checks,
    ],
    jobs=CHURN.jobs,
)
