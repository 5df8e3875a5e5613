"""From raw messages through dbt's accounts to point-in-time features, as assets; `datasets.py` makes the first rows."""

from datetime import datetime

import dagster as dg
import polars as pl

from asset_checks.leakage import leakage_check
from convergence.features.windows import compute
from convergence.lake.contracts import schema_of
from convergence_assets.churn.arrivals import FIRST_DAY, LAST_DAY
from convergence_assets.churn.contracts import Account, Customer, Label
from convergence_assets.churn.datasets import customer_rows, label_rows
from convergence_assets.churn.feature_views import CUSTOMER_FEATURES, CustomerFeatures
from convergence_assets.partitions import daily, window
from resources.dbt import dbt_models
from resources.keys import key_of
from resources.lake import Described, lake_asset
from resources.snapshots import Snapshot
from resources.warehouse import POOL

DAILY = daily(FIRST_DAY, LAST_DAY)

_CHURN = {"key_prefix": "churn", "group_name": "churn", "owners": ["team:churn"], "partitions_def": DAILY}

churn_models_in_dbt = dbt_models("churn", partitions_def=DAILY)


@lake_asset(contract=Customer, ins={"raw_customers": dg.AssetIn(key_prefix="churn")}, code_version="1",
            kinds={"polars", "deltalake"}, tags={"layer": "dataset"}, **_CHURN)  # fmt: skip
def customers(raw_customers: pl.LazyFrame) -> pl.LazyFrame:
    """Customers as published, one row each.

    Grain: customer, on the day that it was looked at. Names and values are those of the published file, so that dbt
    starts from what the company's system exports; labels are not here, so that no feature can see one too early.
    """
    return customer_rows(raw_customers)


@lake_asset(contract=Account, ins={"customers": dg.AssetIn(key_prefix="churn")}, deps=[key_of("churn/mart_accounts")],
            required_resource_keys={"warehouse"}, pool=POOL, code_version="1",
            kinds={"dbt", "deltalake"}, tags={"layer": "dataset"}, **_CHURN)  # fmt: skip
def accounts(context: dg.AssetExecutionContext, customers: Snapshot) -> Described:
    """What each customer has and pays, published from dbt's mart.

    Grain: customer, on the day that it was looked at. The mart must have been built from the very version of the
    customers that the manifest names, or nothing is published.
    """
    warehouse, days = context.resources.warehouse.plain, context.partition_keys
    mart = warehouse.built("mart_accounts", {"churn/customers": customers.read.partitions}, days)
    rows = mart.select(schema_of(Account).names()).cast(dict(schema_of(Account))).sort("event_time", "customer_id")
    return Described(rows, {day: {"warehouse": warehouse.name} for day in days})


@lake_asset(contract=Label, ins={n: dg.AssetIn(key_prefix="churn") for n in ("raw_customers", "accounts")},
            code_version="1", kinds={"polars", "deltalake"}, tags={"layer": "dataset"}, **_CHURN)  # fmt: skip
def churn_labels(raw_customers: pl.LazyFrame, accounts: pl.LazyFrame) -> pl.LazyFrame:
    """Whether customers left, with the time that this became known.

    Grain: customer, on the day that it was looked at. The data set says who left within the month that follows; so a
    label is known 28 days later, and whoever reads labels must cut at label_time.
    """
    return label_rows(raw_customers, accounts)


def feature_rows(accounts: pl.LazyFrame, churn_labels: pl.LazyFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Feature rows of the customers with start <= event_time < end; earlier rows are their history."""
    known = churn_labels.rename({"label_time": "arrived_at"})
    return compute(CUSTOMER_FEATURES, {"accounts": accounts, "churn_labels": known}, start, end)


@lake_asset(
    contract=CustomerFeatures,
    ins={
        source: dg.AssetIn(key_prefix="churn", partition_mapping=window(*CUSTOMER_FEATURES.reach_back(source)))
        for source in ("accounts", "churn_labels")
    },
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "feature"},
    **_CHURN,
)
def customer_features(
    context: dg.AssetExecutionContext, accounts: pl.LazyFrame, churn_labels: pl.LazyFrame
) -> pl.DataFrame:
    """Features of each customer as of the day that it was looked at.

    Grain: customer. Windows are exact over event time; labels of others count only once they were known. The
    declaration is `feature_views.py`.
    """
    return feature_rows(accounts, churn_labels, *context.partition_time_window)


customer_features_leakage = leakage_check(
    customer_features,
    CUSTOMER_FEATURES,
    feature_rows,
    sources={"accounts": "arrived_at", "churn_labels": "label_time"},
)
