"""From raw messages to point-in-time features: transactions without repeats, labels with their delay, feature rows."""

from datetime import datetime

import dagster as dg
import polars as pl

from asset_checks.leakage import leakage_check
from asset_checks.one_day import one_day_check
from convergence.features.windows import compute
from convergence.lake.contracts import schema_of
from convergence_assets.fraud.arrivals import DAILY
from convergence_assets.fraud.contracts import Label, Transaction
from convergence_assets.fraud.feature_views import TRANSACTION_FEATURES, TransactionFeatures
from convergence_assets.fraud.use_case import LABEL_DELAY
from convergence_assets.partitions import window
from resources.lake import lake_asset

_FRAUD = {"key_prefix": "fraud", "group_name": "fraud", "owners": ["team:fraud"], "partitions_def": DAILY}


def without_repeats(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row per day and transaction_id: repeats are dropped, of corrections the one that arrived last wins."""
    key = ["event_date", "transaction_id"]  # a day stands alone: the same rows come out of a run over many days
    newest = raw.sort("arrived_at", "source", "offset").unique(key, keep="last", maintain_order=True)
    return newest.sort("event_time", "transaction_id")


def transaction_rows(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Transaction rows of the days of `raw`."""
    return without_repeats(raw).select(schema_of(Transaction).names())


def label_rows(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Label rows of the days of `raw`: known LABEL_DELAY after the transaction."""
    labelled = without_repeats(raw).with_columns(label_time=pl.col("event_time") + LABEL_DELAY)
    return labelled.select(schema_of(Label).names())


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


def labels_as_known(labels: pl.LazyFrame) -> pl.LazyFrame:
    """Labels as features see them: they arrive when they become known."""
    return labels.rename({"label_time": "arrived_at"}).with_columns(is_genuine=~pl.col("is_fraud"))


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
