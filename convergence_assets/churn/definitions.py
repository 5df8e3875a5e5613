"""The churn use case as Dagster sees it."""

from datetime import timedelta

import dagster as dg

from asset_checks.gate import gate_check
from asset_checks.personal_data import personal_data_check
from convergence_assets.churn import (
    campaign,
    cross_validation,
    evaluation,
    fairness,
    features,
    gate,
    inference,
    leaderboard,
    monitoring,
    training,
)
from convergence_assets.churn.arrivals import TOPIC, customers_topic, raw_customers
from convergence_assets.churn.feature_views import VIEWS
from convergence_assets.churn.monitoring import RETRAINING
from convergence_assets.churn.pages import PAGES
from convergence_assets.churn.release import RELEASABLE, churn_model_release

__all__ = ["FRESH", "PAGES", "RELEASABLE", "RETRAINING", "TOPIC", "UNITED", "VIEWS", "defs"]

# Where a live source is configured: how long after its last materialization a table is overdue.
FRESH = {"churn/customer_features": timedelta(hours=25)}

UNITED = {"churn/customers": features.customer_rows}

defs = dg.Definitions(
    assets=[
        customers_topic,
        raw_customers,
        *dg.load_assets_from_modules([features, leaderboard, training, gate, evaluation, inference]),
        *dg.load_assets_from_modules([cross_validation, fairness, campaign, monitoring]),
    ],
    asset_checks=[
        features.customer_features_leakage,
        personal_data_check(features.customers),
        gate_check(gate.churn_promotions),
        cross_validation.goals,
        fairness.fairness_of_scores,
        monitoring.drift_alarm,
    ],
    jobs=[churn_model_release],
)
