"""The fraud use case as Dagster sees it."""

import dagster as dg

from asset_checks.gate import gate_check
from convergence_assets.fraud import (
    drift_report,
    evaluation,
    features,
    gate,
    inference,
    monitoring,
    online,
    profiles,
    training,
)
from convergence_assets.fraud.arrivals import TOPIC, raw_transactions, transactions_topic
from convergence_assets.fraud.monitoring import RETRAINING
from convergence_assets.fraud.online import SERVED
from convergence_assets.fraud.release import RELEASABLE, fraud_model_release

__all__ = ["RELEASABLE", "RETRAINING", "SERVED", "TOPIC", "UNITED", "defs"]

UNITED = {"fraud/transactions": features.transaction_rows, "fraud/labels": features.label_rows}

defs = dg.Definitions(
    assets=[
        transactions_topic,
        raw_transactions,
        *dg.load_assets_from_modules(
            [features, training, gate, evaluation, inference, online, profiles, monitoring, drift_report]
        ),
    ],
    asset_checks=[
        features.transaction_features_leakage,
        gate_check(gate.fraud_promotions),
        monitoring.drift_alarm,
        monitoring.performance_alarm,
    ],
    jobs=[fraud_model_release],
)
