"""The features of a transaction, declared once: computed by batch, backfill, checks and documentation alike."""

from datetime import timedelta
from typing import Any

import narwhals as nw
import pandera.polars as pa

from convergence.features.contract import feature_contract
from convergence.features.groups import FeatureTable
from convergence.features.views import Aggregate, FeatureView, RowExpression
from convergence_assets.fraud.contracts import HOLDER, Event, KnownLabel, Time, Transaction

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WINDOWS = {"1h": HOUR, "24h": DAY, "7d": 7 * DAY, "30d": 30 * DAY}
LABEL_DELAY = 7 * DAY
CENT = 0.01

_CUSTOMER, _TERMINAL = ("customer_id",), ("terminal_id",)


def _known(days: int) -> dict[str, Any]:
    """A window over labels that were known at the time of the transaction."""
    return {"source": "labels", "window": days * DAY, "delay": LABEL_DELAY}


TRANSACTION_FEATURES = FeatureView(
    "transaction_features",
    description="What was known about the customer, the terminal and the amount when a transaction arrived",
    source="transactions",
    sequence="transaction_id",
    keep=("event_date", "transaction_id", "customer_id", "terminal_id", "amount"),
    aggregates=(
        *(
            Aggregate(f"customer_count_{name}", entity=_CUSTOMER, function="count", window=window,
                      description=f"Transactions of the customer in the last {name}, this one included")
            for name, window in WINDOWS.items()
        ),
        *(
            Aggregate(f"customer_mean_{name}", entity=_CUSTOMER, function="mean", column="amount", resolution=CENT,
                      window=window, description=f"Mean amount of the customer in the last {name}, in EUR")
            for name, window in WINDOWS.items()
        ),
        *(
            Aggregate(f"terminal_count_{name}", entity=_TERMINAL, function="count", window=window,
                      description=f"Transactions at the terminal in the last {name}, this one included")
            for name, window in WINDOWS.items()
        ),
        *(
            Aggregate(f"customer_max_{days}d", entity=_CUSTOMER, function="max", column="amount", resolution=CENT,
                      window=days * DAY, description=f"Largest amount of the customer in the last {days} days, in EUR")
            for days in (7, 14)
        ),
        Aggregate("seconds_since_last", entity=_CUSTOMER, function="seconds_since_last", window=30 * DAY,
                  description="Seconds since the customer's last transaction, null if none in 30 days"),
        Aggregate("customer_terminal_count_30d", entity=("customer_id", "terminal_id"), function="count",
                  window=30 * DAY, description="Transactions of the customer at this terminal in the last 30 days"),
        Aggregate("customer_genuine_mean_30d", entity=_CUSTOMER, function="mean", column="amount", resolution=CENT,
                  where="is_genuine", **_known(30),
                  description="Mean amount of the customer's transactions known to be genuine, 30 days of labels"),
        *(
            Aggregate(f"terminal_fraud_rate_{days}d", entity=_TERMINAL, function="mean", column="is_fraud",
                      **_known(days), description=f"Share of fraud at the terminal over {days} days of known labels")
            for days in (1, 7, 21, 30)
        ),
        *(
            Aggregate(f"terminal_frauds_{days}d", entity=_TERMINAL, function="count", where="is_fraud", **_known(days),
                      description=f"Frauds at the terminal over {days} days of labels known by then")
            for days in (7, 14, 21, 30)
        ),
        Aggregate("terminal_first_fraud_age", entity=_TERMINAL, function="seconds_since_first", where="is_fraud",
                  **_known(30), description="Seconds since the terminal's earliest known fraud of 30 days of labels"),
        Aggregate("terminal_last_fraud_age", entity=_TERMINAL, function="seconds_since_last", where="is_fraud",
                  **_known(30), description="Seconds since the terminal's latest known fraud of 30 days of labels"),
        Aggregate("terminal_last_genuine_age", entity=_TERMINAL, function="seconds_since_last", where="is_genuine",
                  **_known(30), description="Seconds since the terminal's latest known genuine transaction"),
    ),
    expressions=(
        RowExpression("hour", nw.col("event_time").dt.hour(), "Hour of the day, UTC"),
        RowExpression("is_weekend", nw.col("event_time").dt.weekday() > 5, "Saturday or Sunday"),
        RowExpression("is_night", nw.col("event_time").dt.hour() <= 6, "Between midnight and 7 o'clock"),
        RowExpression("is_new_terminal", nw.col("customer_terminal_count_30d") == 1,
                      "No transaction of this customer at this terminal in the previous 30 days"),
        RowExpression("amount_to_mean", nw.col("amount") / nw.col("customer_mean_30d"),
                      "Amount relative to the customer's mean of 30 days"),
        RowExpression("amount_to_genuine_mean", nw.col("amount") / nw.col("customer_genuine_mean_30d"),
                      "Amount relative to the customer's known genuine mean"),
        RowExpression("max_to_genuine_mean", nw.col("customer_max_7d") / nw.col("customer_genuine_mean_30d"),
                      "Largest amount of 7 days relative to the customer's known genuine mean"),
    ),
)  # fmt: skip


class _Kept(Event):
    """One transaction, as of its arrival."""

    arrived_at: Time = pa.Field(description="As-of time of the features: when the transaction was known")
    transaction_id: int = pa.Field(unique=True, description="The transaction")
    customer_id: int = pa.Field(description="Card holder", metadata=HOLDER)
    terminal_id: int = pa.Field(description="Where the card was used")
    amount: float = pa.Field(ge=0, description="Amount paid", metadata={"unit": "EUR"})


TransactionFeatures = feature_contract(
    TRANSACTION_FEATURES, "TransactionFeatures", _Kept, {"transactions": Transaction, "labels": KnownLabel}
)

DESCRIPTIONS = {name: column.description or name for name, column in TransactionFeatures.to_schema().columns.items()}
MODEL_INPUT = ("amount", *(f for f in TRANSACTION_FEATURES.features if f != "customer_genuine_mean_30d"))

VIEWS = (FeatureTable("fraud/transaction_features", TRANSACTION_FEATURES, TransactionFeatures, MODEL_INPUT),)
