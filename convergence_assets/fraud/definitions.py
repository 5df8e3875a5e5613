"""The fraud use case as Dagster sees it."""

import dagster as dg

from convergence_assets.fraud import evaluation, features, gate, inference, online, training
from convergence_assets.fraud.arrivals import TOPIC, raw_transactions, transactions_topic
from convergence_assets.fraud.online import SERVED
from convergence_assets.fraud.pages import PAGES
from convergence_assets.fraud.release import RELEASABLE, fraud_model_release

__all__ = ["PAGES", "RELEASABLE", "SERVED", "TOPIC", "UNITED", "defs"]

UNITED = {"fraud/transactions": features.transaction_rows, "fraud/labels": features.label_rows}

defs = dg.Definitions(
    assets=[
        transactions_topic,
        raw_transactions,
        *dg.load_assets_from_modules([features, training, gate, evaluation, inference, online]),
    ],
    asset_checks=[features.transaction_features_leakage],
    jobs=[fraud_model_release],
)
