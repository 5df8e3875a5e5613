"""The fraud use case as Dagster sees it."""

import dagster as dg

from asset_checks.personal_data import personal_data_check
from convergence_assets._parts.arrivals import arrivals
from convergence_assets.fraud import (
    creditcard,
    creditcard_evaluation,
    evaluation,
    features,
    inference,
    online,
    parameters,
    updating,
)
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.use_case import USE_CASE

defs = dg.Definitions(
    assets=[
        *arrivals(USE_CASE),
        *FRAUD.assets,
        *dg.load_assets_from_modules([features, parameters, updating, evaluation, inference, online]),
        *dg.load_assets_from_modules([creditcard, creditcard_evaluation]),
    ],
    asset_checks=[
        features.transactions_one_day,
        features.transaction_features_leakage,
        personal_data_check(inference.fraud_alerts),
        *FRAUD.checks,
    ],
    jobs=FRAUD.jobs,
)
