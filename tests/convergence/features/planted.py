"""A small feature view, honest rows of it, and three ways to compute it with knowledge that nobody had."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl

from convergence.features.leakage import Compute
from convergence.features.views import Aggregate, FeatureView
from convergence.features.windows import compute

DAY = timedelta(days=1)
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
LABEL_DELAY = 3 * DAY

TIME = pl.Datetime("us", "UTC")
KNOWN = {"payments": "arrived_at", "labels": "label_time"}

VIEW = FeatureView(
    "payment_features",
    description="What is known of a payment when it arrives.",
    source="payments",
    sequence="payment_id",
    keep=("event_date", "payment_id", "customer", "amount"),
    aggregates=(
        Aggregate(
            "count_7d", description="Payments of the customer.", entity=("customer",), function="count", window=7 * DAY,
        ),
        Aggregate(
            "mean_amount_7d", description="Their mean amount.", entity=("customer",), function="mean", window=7 * DAY,
            column="amount", resolution=0.01,
        ),
        Aggregate(
            "frauds_7d", description="Known frauds of the customer.", entity=("customer",), function="count",
            window=7 * DAY, delay=LABEL_DELAY, source="labels", where="is_fraud",
        ),
    ),
)  # fmt: skip


def payments(days: int = 14, customers: int = 6, late: float = 0.0) -> pl.DataFrame:
    """About one payment a customer and day; `late` is the share that arrives after others that happened later."""
    chance = random.Random(7)
    rows = []
    for number in range(days * customers):
        at = BEGIN + number * DAY / customers + timedelta(minutes=chance.randrange(90))
        lateness = timedelta(hours=chance.randrange(1, 48)) if chance.random() < late else timedelta(0)
        rows.append(
            (at.date(), at, at + lateness, number, chance.randrange(customers), chance.randrange(100, 9900) / 100)
        )
    schema = {
        "event_date": pl.Date, "event_time": TIME, "arrived_at": TIME, "payment_id": pl.Int64, "customer": pl.Int64,
        "amount": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def labels(of: pl.DataFrame) -> pl.DataFrame:
    """Every second payment is a fraud, and is known to be one three days later."""
    return of.select(
        "event_date",
        "event_time",
        label_time=pl.col("event_time") + LABEL_DELAY,
        payment_id="payment_id",
        customer="customer",
        is_fraud=pl.col("payment_id") % 2 == 1,
    )


def sources(late: float = 0.0) -> dict[str, pl.DataFrame]:
    rows = payments(late=late)
    return {"payments": rows, "labels": labels(rows)}


def honest(
    payments: pl.DataFrame | pl.LazyFrame, labels: pl.DataFrame | pl.LazyFrame, start: datetime, end: datetime
) -> pl.DataFrame:
    known = labels.lazy().rename({"label_time": "arrived_at"})
    return compute(VIEW, {"payments": payments, "labels": known}, start, end)


def instead(feature: str, values: Callable[[pl.DataFrame, pl.DataFrame, pl.DataFrame], pl.DataFrame]) -> Compute:
    """The honest features, but for one: `values(rows, payments, labels)` gives payment_id and the feature."""

    def leaking(payments, labels, start: datetime, end: datetime) -> pl.DataFrame:
        rows = honest(payments, labels, start, end)
        planted = values(rows, payments.lazy().collect(), labels.lazy().collect())
        return rows.drop(feature).join(planted, "payment_id", "left", maintain_order="left").select(rows.columns)

    return leaking


def _own_label(rows: pl.DataFrame, _: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Target: whether the payment itself is a fraud, known only days later."""
    found = rows.select("payment_id").join(labels.select("payment_id", "is_fraud"), "payment_id", "left")
    return found.select("payment_id", frauds_7d=pl.col("is_fraud").fill_null(False).cast(pl.Int64))


def _undelayed(rows: pl.DataFrame, _: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Target: frauds of the last seven days as if each were known at once."""
    of = rows.select("payment_id", "event_time", "customer")
    seen = of.join(labels.filter("is_fraud").select("customer", labelled="event_time"), "customer", "left")
    inside = (pl.col("labelled") <= pl.col("event_time")) & (pl.col("labelled") > pl.col("event_time") - 7 * DAY)
    return seen.group_by("payment_id").agg(frauds_7d=inside.fill_null(False).sum().cast(pl.Int64))


def _whole_week(rows: pl.DataFrame, payments: pl.DataFrame, _: pl.DataFrame) -> pl.DataFrame:
    """Temporal: payments of the customer within seven days, before and after."""
    seen = rows.select("payment_id", "event_time", "customer").join(
        payments.select("customer", other="event_time"), "customer"
    )
    near = (pl.col("other") - pl.col("event_time")).abs() < 7 * DAY
    return seen.group_by("payment_id").agg(count_7d=near.sum().cast(pl.Int64))


def _standardized(rows: pl.DataFrame, payments: pl.DataFrame, _: pl.DataFrame) -> pl.DataFrame:
    """Fitted: the amount in standard deviations from the mean of the whole frame."""
    amount = payments["amount"]
    mean, std = amount.mean(), amount.std()
    return rows.select("payment_id", mean_amount_7d=(pl.col("amount") - mean) / std)


LEAKS: dict[str, tuple[str, str, Compute]] = {  # name -> feature, kind, how it is computed
    "own label": ("frauds_7d", "target", instead("frauds_7d", _own_label)),
    "labels without their delay": ("frauds_7d", "target", instead("frauds_7d", _undelayed)),
    "own future": ("count_7d", "temporal", instead("count_7d", _whole_week)),
    "statistic of all rows": ("mean_amount_7d", "fitted", instead("mean_amount_7d", _standardized)),
}
