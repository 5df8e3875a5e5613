"""From raw messages to point-in-time features, as assets; what makes their rows is in `datasets.py`."""

from datetime import datetime

import dagster as dg
import polars as pl

from asset_checks.leakage import leakage_check
from asset_checks.one_day import one_day_check
from convergence.features.windows import compute
from convergence_assets.fraud.arrivals import FIRST_DAY, LAST_DAY
from convergence_assets.fraud.contracts import Label, Transaction
from convergence_assets.fraud.datasets import label_rows, labels_as_known, transaction_rows
from convergence_assets.fraud.feature_views import TRANSACTION_FEATURES, TransactionFeatures
from convergence_assets.partitions import daily, window
from resources.lake import lake_asset

DAILY = daily(FIRST_DAY, LAST_DAY)

_FRAUD = {"key_prefix": "fraud", "group_name": "fraud", "owners": ["team:fraud"], "partitions_def": DAILY}


@lake_asset(contract=Transaction, ins={"raw_transactions": dg.AssetIn(key_prefix="fraud")}, code_version="1",
            kinds={"polars", "deltalake"}, tags={"layer": "dataset"}, **_FRAUD)  # fmt: skip
def transactions(raw_transactions: pl.LazyFrame) -> pl.LazyFrame:
    """Card transactions, one row each.

    Grain: transaction. Built from raw messages: repeats are dropped, a correction replaces what it corrects on
    its own day. Labels are not here, so that no feature can see one before it was known.
    """
    return transaction_rows(raw_transactions)


transactions_one_day = one_day_check(transactions, key="transaction_id")


@lake_asset(contract=Label, ins={"raw_transactions": dg.AssetIn(key_prefix="fraud")}, code_version="1",
            kinds={"polars", "deltalake"}, tags={"layer": "dataset"}, **_FRAUD)  # fmt: skip
def labels(raw_transactions: pl.LazyFrame) -> pl.LazyFrame:
    """Fraud labels with the time they became known.

    Grain: transaction, on its own date. A label is known 7 days after its transaction (the Handbook's delay);
    whoever reads labels must cut at label_time.
    """
    return label_rows(raw_transactions)


def feature_rows(transactions: pl.LazyFrame, labels: pl.LazyFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Feature rows of the transactions with start <= event_time < end; earlier rows are their history."""
    return compute(TRANSACTION_FEATURES, {"transactions": transactions, "labels": labels_as_known(labels)}, start, end)


@lake_asset(
    contract=TransactionFeatures,
    ins={
        "transactions": dg.AssetIn(
            key_prefix="fraud", partition_mapping=window(*TRANSACTION_FEATURES.reach_back("transactions"))
        ),
        "labels": dg.AssetIn(key_prefix="fraud", partition_mapping=window(*TRANSACTION_FEATURES.reach_back("labels"))),
    },
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "feature"},
    **_FRAUD,
)
def transaction_features(
    context: dg.AssetExecutionContext, transactions: pl.LazyFrame, labels: pl.LazyFrame
) -> pl.DataFrame:
    """Features of each transaction as of its arrival.

    Grain: transaction. Windows are exact over event time and end at the transaction itself; labels count only once
    they were known. The declaration is `feature_views.py`.
    """
    return feature_rows(transactions, labels, *context.partition_time_window)


transaction_features_leakage = leakage_check(
    transaction_features,
    TRANSACTION_FEATURES,
    feature_rows,
    sources={"transactions": "arrived_at", "labels": "label_time"},
)
