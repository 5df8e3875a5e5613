"""From raw messages to rows without repeats, and to labels with their delay: what the batch and the servers share."""

from datetime import timedelta

import polars as pl

from convergence.lake.contracts import schema_of
from convergence_assets.fraud.contracts import Label, Transaction

LABEL_DELAY = timedelta(days=7)


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


def labels_as_known(labels: pl.LazyFrame) -> pl.LazyFrame:
    """Labels as features see them: they arrive when they become known."""
    return labels.rename({"label_time": "arrived_at"}).with_columns(is_genuine=~pl.col("is_fraud"))
