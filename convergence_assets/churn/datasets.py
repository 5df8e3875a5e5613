"""From raw messages to customers without repeats, and to labels with their delay."""

from datetime import timedelta

import polars as pl

from convergence.lake.contracts import schema_of
from convergence_assets.churn.contracts import Customer, Label

LABEL_DELAY = timedelta(days=28)  # "left within the last month": known a month later


def without_repeats(raw: pl.LazyFrame) -> pl.LazyFrame:
    """One row per day and customer: repeats are dropped, of corrections the one that arrived last wins."""
    newest = raw.sort("arrived_at", "source", "offset").unique(["event_date", "customerID"], keep="last")
    return newest.sort("event_time", "customerID")


def customer_rows(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Customer rows of the days of `raw`."""
    return without_repeats(raw).select(schema_of(Customer).names())


def label_rows(raw: pl.LazyFrame, accounts: pl.LazyFrame) -> pl.LazyFrame:
    """Label rows of the days of `raw`: known LABEL_DELAY later, with what customers are alike by."""
    left = without_repeats(raw).select("event_date", customer_id="customerID", churned=pl.col("Churn") == "Yes")
    labelled = accounts.join(left, on=["event_date", "customer_id"]).with_columns(
        label_time=pl.col("event_time") + LABEL_DELAY
    )
    return labelled.select(schema_of(Label).names()).sort("event_time", "customer_id")
