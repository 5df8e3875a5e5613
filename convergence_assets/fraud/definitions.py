"""The fraud use case as Dagster sees it."""

import dagster as dg

from convergence_assets.fraud import features, inference, training
from convergence_assets.fraud.arrivals import TOPIC, raw_transactions, transactions_topic

__all__ = ["TOPIC", "UNITED", "defs"]

UNITED = {"fraud/transactions": features.transaction_rows, "fraud/labels": features.label_rows}

defs = dg.Definitions(
    assets=[
        transactions_topic,
        raw_transactions,
        *dg.load_assets_from_modules([features, training, inference]),
    ],
    asset_checks=[features.transaction_features_leakage],
)
