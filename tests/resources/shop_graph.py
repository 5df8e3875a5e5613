"""A small graph that begins with a landing, as the backfill daemon loads it: its folders come from the environment."""

from datetime import date

import dagster as dg
import pandera.polars as pa
import polars as pl

from resources.arrivals import Sources, landing_asset
from resources.lake import LakeIOManager, lake_asset
from tests.convergence.arrivals.landing import TOPIC

DAILY = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-11")
LAKE, INBOX = "SHOP_GRAPH_LAKE", "SHOP_GRAPH_INBOX"


class Payment(pa.DataFrameModel):
    event_date: date
    payment_id: int
    amount: float = pa.Field(lt=50)  # the raw contract admits more: such a day is landed, and breaks here


raw_payments = landing_asset(TOPIC, partitions_def=DAILY)


@lake_asset(contract=Payment, partitions_def=DAILY, key_prefix="shop", ins={"raw": dg.AssetIn(raw_payments.key)})
def payments(raw: pl.LazyFrame) -> pl.LazyFrame:
    """The payments of the run's days."""
    return raw.select("event_date", "payment_id", "amount")


@lake_asset(contract=Payment, partitions_def=DAILY, key_prefix="shop", ins={"payments": dg.AssetIn(payments.key)})
def halved(payments: pl.LazyFrame) -> pl.LazyFrame:
    """Half of each."""
    return payments.with_columns(pl.col("amount") / 2)


defs = dg.Definitions(
    assets=[raw_payments, payments, halved],
    executor=dg.in_process_executor,
    resources={"lake": LakeIOManager(root=dg.EnvVar(LAKE)), "sources": Sources(inbox=dg.EnvVar(INBOX))},
)
