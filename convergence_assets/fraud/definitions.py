"""The fraud use case as Dagster sees it."""

from datetime import timedelta

import dagster as dg

from asset_checks.personal_data import personal_data_check
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
from convergence_assets.fraud.arrivals import TOPIC, raw_transactions, transactions_topic
from convergence_assets.fraud.feature_views import VIEWS
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.online import SERVED
from convergence_assets.fraud.pages import PAGES

__all__ = ["FRESH", "PAGES", "RELEASABLE", "RETRAINING", "SERVED", "TOPIC", "UNITED", "VIEWS", "defs"]

RELEASABLE, RETRAINING = FRAUD.declared.releasable, FRAUD.retraining

# Where a live source is configured: how long after its last materialization a table is overdue.
FRESH = {
    "fraud/transaction_features": timedelta(hours=25),  # an hour after the topic is called silent: they follow it
    "fraud/online_state": timedelta(days=7),  # follows by itself meanwhile; a filling takes in what it could not
    "fraud/fraud_scores": timedelta(hours=49),  # a day is scored on the next one
}

UNITED = {"fraud/transactions": features.transaction_rows, "fraud/labels": features.label_rows}

defs = dg.Definitions(
    assets=[
        transactions_topic,
        raw_transactions,
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
