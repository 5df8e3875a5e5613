"""Feature rows and labels of customers, without dbt and Dagster: what the model's tests stand on."""

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any

import polars as pl

from convergence.arrivals.simulators.churn import simulate
from convergence.lake.contracts import schema_of
from convergence.models.gated import version
from convergence_assets.churn import training
from convergence_assets.churn.arrivals import FIRST_DAY, LAST_DAY, on_replay_clock
from convergence_assets.churn.contracts import Account, Label
from convergence_assets.churn.datasets import LABEL_DELAY
from convergence_assets.churn.features import feature_rows
from convergence_assets.churn.use_case import MODEL

AS_OF = date(2024, 3, 18)
WEEK = timedelta(days=7)
_FLAGS = {
    "partner": "Partner",
    "dependents": "Dependents",
    "phone_service": "PhoneService",
    "multiple_lines": "MultipleLines",
    "online_security": "OnlineSecurity",
    "online_backup": "OnlineBackup",
    "device_protection": "DeviceProtection",
    "tech_support": "TechSupport",
    "streaming_tv": "StreamingTV",
    "streaming_movies": "StreamingMovies",
    "paperless_billing": "PaperlessBilling",
}


def at(day: date) -> datetime:
    """The first moment of a day."""
    return datetime.combine(day, time(), UTC)


def of_published(customers: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Feature rows and labels of customers as published."""
    word = pl.col("InternetService").str.to_lowercase().str.replace(" ", "_")
    accounts = (
        on_replay_clock(customers)
        .with_columns(pl.col("event_time").dt.replace_time_zone("UTC"))
        .with_columns(
            event_date=pl.col("event_time").dt.date(),
            arrived_at="event_time",
            customer_id="customerID",
            gender=pl.col("gender").str.to_lowercase(),
            senior=pl.col("SeniorCitizen") == 1,
            tenure_months="tenure",
            internet_service=word.replace("no", "none"),
            contract=pl.col("Contract").str.to_lowercase().str.replace_all("[ -]", "_"),
            payment_method=pl.col("PaymentMethod").str.replace(r" \(.*", "").str.to_lowercase().str.replace(" ", "_"),
            monthly_charges="MonthlyCharges",
            total_charges=pl.col("TotalCharges").str.strip_chars().replace("", "0").cast(pl.Float64),
            **{name: pl.col(published) == "Yes" for name, published in _FLAGS.items()},
        )
        .with_columns(
            mean_monthly_charges=pl.when(pl.col("tenure") > 0)
            .then(pl.col("total_charges") / pl.col("tenure"))
            .otherwise("monthly_charges"),
            service_count=pl.sum_horizontal(*list(_FLAGS)[2:10], pl.col("internet_service") != "none").cast(pl.Int64),
        )
        .with_columns(charge_change=pl.col("monthly_charges") - pl.col("mean_monthly_charges"))
    )
    labels = accounts.with_columns(label_time=pl.col("event_time") + LABEL_DELAY, churned=pl.col("Churn") == "Yes")
    typed = accounts.select(schema_of(Account).names()).cast(dict(schema_of(Account)))
    known = labels.select(schema_of(Label).names())
    return feature_rows(typed.lazy(), known.lazy(), at(FIRST_DAY), at(LAST_DAY + timedelta(days=1))), known


@cache
def world() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Feature rows and labels of 2,800 simulated customers."""
    return of_published(simulate(2800))


@cache
def model_of(as_of: date) -> dict[str, Any]:
    return version(MODEL, training.fit, *world(), as_of, None)
