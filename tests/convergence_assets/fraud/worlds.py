"""Small worlds of card transactions, and what the use case makes of them, without Dagster."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import polars as pl

from convergence.arrivals.codecs import BROKEN, Messages
from convergence.arrivals.lander import sort_out
from convergence.arrivals.simulators.fraud import simulate
from convergence.lake.contracts import schema_of
from convergence_assets.fraud.arrivals import FIRST_DAY, TOPIC
from convergence_assets.fraud.contracts import Label, Transaction
from convergence_assets.fraud.datasets import LABEL_DELAY, without_repeats
from convergence_assets.fraud.features import feature_rows

ORIGIN = "SIMULATED HERE: a test's small world"


def at(day: date) -> datetime:
    """The first moment of a day."""
    return datetime.combine(day, datetime.min.time(), UTC)


@cache
def messages(customers: int = 100, terminals: int = 200, days: int = 153, radius: float = 10.0) -> pl.DataFrame:
    """Messages as published, with so many frauds that a small model can learn them."""
    return simulate(
        customers=customers,
        terminals=terminals,
        days=days,
        radius=radius,
        compromised_terminals=25,
        compromised_customers=12,
    )


def history(_: Path | None) -> tuple[pl.LazyFrame, str]:
    """The small world in the data set's place."""
    return messages().lazy(), ORIGIN


def landed(published: pl.DataFrame) -> pl.DataFrame:
    """Messages as the lander accepts them."""
    numbered = published.with_row_index("offset").with_columns(pl.col("offset").cast(pl.Int64))
    return sort_out(TOPIC, {"file/x": Messages(numbered, pl.DataFrame(schema=BROKEN))}).accepted


def datasets(published: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Transactions and labels."""
    raw = without_repeats(landed(published).lazy()).with_columns(label_time=pl.col("event_time") + LABEL_DELAY)
    return tuple(raw.select(schema_of(contract).names()).collect() for contract in (Transaction, Label))  # pyright: ignore


@cache
def world(days: int = 153) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Feature rows and labels of the small world."""
    transactions, labels = datasets(messages(days=days))
    end = at(FIRST_DAY + timedelta(days=days))
    return feature_rows(transactions.lazy(), labels.lazy(), at(FIRST_DAY), end), labels
