"""The churn use case as Dagster sees it."""

import dagster as dg

from asset_checks.personal_data import personal_data_check
from convergence_assets._parts.arrivals import arrivals
from convergence_assets.churn import campaign, cross_validation, evaluation, fairness, features, leaderboard
from convergence_assets.churn.model import CHURN
from convergence_assets.churn.use_case import USE_CASE

defs = dg.Definitions(
    assets=[
        *arrivals(USE_CASE),
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
