"""What arrives: card transactions as the Fraud Detection Handbook publishes them, or as its generator makes them."""

from datetime import date, timedelta
from pathlib import Path

import polars as pl

from convergence.arrivals.topics import Topic
from convergence_assets.fraud.contracts import RawTransaction

FIRST_DAY, LAST_DAY = date(2018, 4, 1), date(2018, 8, 31)

_PUBLISHED = "fraud/fdh_transactions.parquet"


def history(data: Path | None) -> tuple[pl.LazyFrame, str]:
    """The published transactions (columns TRANSACTION_ID, TX_DATETIME, ...), or simulated ones, and their origin."""
    if data and (data / _PUBLISHED).exists():
        return pl.scan_parquet(
            data / _PUBLISHED
        ), "published: Fraud Detection Handbook transactions (simulated by its authors)"
    from convergence.arrivals.simulators.fraud import simulate

    days = (LAST_DAY - FIRST_DAY).days + 1
    return simulate(start=FIRST_DAY, days=days).lazy(), "SIMULATED HERE: Handbook generator, 5000 customers, seed 0"


TOPIC = Topic(
    name="fraud.transactions",
    table="fraud/raw_transactions",
    contract=RawTransaction,
    first_day=FIRST_DAY,
    last_day=LAST_DAY,
    late_after=timedelta(hours=48),
    silent_after=timedelta(hours=24),
    assumed_lateness=timedelta(0),
    clock="TX_DATETIME",
    key="CUSTOMER_ID",
    renames={
        "TRANSACTION_ID": "transaction_id",
        "TX_DATETIME": "event_time",
        "CUSTOMER_ID": "customer_id",
        "TERMINAL_ID": "terminal_id",
        "TX_AMOUNT": "amount",
        "TX_FRAUD": "is_fraud",
        "TX_FRAUD_SCENARIO": "fraud_scenario",
    },
    history=history,
)
