"""The fraud use case as Dagster sees it."""

import dagster as dg

from convergence_assets.fraud import features, inference, training
from convergence_assets.fraud.arrivals import TOPIC, raw_transactions

__all__ = ["TOPIC", "defs"]

defs = dg.Definitions(
    assets=[
        raw_transactions,
        *dg.load_assets_from_modules([features, training, inference]),
    ],
    asset_checks=[features.transaction_features_leakage],
)
