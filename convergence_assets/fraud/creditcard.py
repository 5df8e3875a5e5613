"""The second data set: real card transactions of September 2013, as ULB and Worldline published them.

What a sample leaves out is put back by weights: a genuine row counts as often as it takes for frauds to have their
share in the whole file, so that every rate and precision is one of the whole.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl

from convergence.errors import ContractBroken
from convergence.lake.contracts import StrictColumns, schema_of
from convergence.models.metrics import base_rate_average_precision
from convergence_assets.fraud.contracts import Time
from resources.lake import Described, lake_asset

FILE = "fraud/creditcard_10k.parquet"  # all frauds and 9,508 genuine rows; CONVERGENCE_CREDITCARD gives the whole file
SETTING = "creditcard"  # may name the whole file instead
FRAUDS, GENUINE = 492, 284_315  # of the whole file, as published
CLOCK = datetime(2013, 9, 1, tzinfo=UTC)  # replay clock: two days of that month, which ones was not published
DAYS = 2
COMPONENTS = tuple(f"v{number}" for number in range(1, 29))
ABOUT = {"group_name": "fraud_creditcard", "owners": ["team:fraud"], "key_prefix": "fraud"}

_FIELDS = ("Time", *(name.upper() for name in COMPONENTS), "Amount", "Class")


class _Stated(pa.DataFrameModel):
    """One card transaction of September 2013."""

    row: int = pa.Field(ge=0, unique=True, description="Position in order of time; simultaneous ones as in the file")
    event_time: Time = pa.Field(description="Seconds since the first transaction, counted from 2013-09-01 (assumed)")
    amount: float = pa.Field(ge=0, description="Amount paid", metadata={"unit": "EUR"})
    is_fraud: bool = pa.Field(description="Whether the transaction was fraud")
    weight: float = pa.Field(gt=0, description="Transactions of the whole file that the row stands for")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": "read from a published file, which is no table of the platform"}


CreditcardTransaction = type(
    "CreditcardTransaction",
    (_Stated,),
    {
        "__annotations__": dict.fromkeys(COMPONENTS, float),
        "__module__": __name__,
        **{
            name: pa.Field(description=f"Principal component {name[1:]} of features that were not published")
            for name in COMPONENTS
        },
    },
)


def read(path: Path) -> pl.DataFrame:
    """The rows of a published file, Parquet or CSV, with its columns as Float64.

    Raises:
        ContractBroken: other columns, a value that is missing or no finite number, a class other than 0 and 1, one
            class only, or a time outside the two days.
    """
    is_parquet = path.suffix == ".parquet"
    frame = pl.read_parquet(path) if is_parquet else pl.read_csv(path, infer_schema=False)
    missing = [name for name in _FIELDS if name not in frame.columns]
    extra = [name for name in frame.columns if name not in _FIELDS]
    if missing or extra:
        raise _unusable(path, f"columns {missing} missing and {extra} unexpected")
    frame = frame.select(pl.col(_FIELDS).cast(pl.Float64, strict=False))
    odd = {c.name: n for c in frame if (n := c.len() - int(c.is_finite().fill_null(False).sum()))}
    if odd:
        raise _unusable(path, f"values that are missing or no finite numbers: {odd}")
    classes = frame["Class"].unique().sort().to_list()
    if classes != [0, 1]:
        raise _unusable(path, f"classes {classes[:5]}")
    outside = frame.filter(~pl.col("Time").is_between(0, DAYS * 86_400, closed="left")).height
    if outside:
        raise _unusable(path, f"{outside} times outside the {DAYS} days")
    return frame


def _unusable(path: Path, found: str) -> ContractBroken:
    return ContractBroken(
        f"{path.name} is not the published credit card data: expected columns Time (seconds, from 0), V1 to V28, "
        f"Amount and Class (0 and 1), all finite; found {found}. Give the file as published"
    )


def transactions(published: pl.DataFrame) -> pl.DataFrame:
    """CreditcardTransaction rows of `read`, in order of time, weighted to the published share of frauds."""
    frauds = int(published["Class"].sum())
    weight = frauds * GENUINE / (FRAUDS * (published.height - frauds))
    is_fraud = pl.col("Class") == 1
    return (
        published.sort("Time", maintain_order=True)
        .with_row_index("row")
        .select(
            pl.col("row").cast(pl.Int64),
            event_time=pl.lit(CLOCK, pl.Datetime("us", "UTC")) + pl.duration(microseconds=pl.col("Time") * 1_000_000),
            amount="Amount",
            is_fraud=is_fraud,
            weight=pl.when(is_fraud).then(1.0).otherwise(weight),
            **{name: pl.col(name.upper()) for name in COMPONENTS},
        )
        .select(schema_of(CreditcardTransaction).names())
    )


def origin(rows: pl.DataFrame) -> str:
    """Where the rows come from, and whether they are the whole file."""
    frauds = int(rows["is_fraud"].sum())
    whole = (frauds, rows.height - frauds) == (FRAUDS, GENUINE)
    sample = f"case-control sample: {frauds} frauds, {rows.height - frauds:,} of {GENUINE:,} genuine"
    return f"published: ULB credit card transactions of September 2013, real ({'whole' if whole else sample})"


def balance(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of the rows: how many frauds, what a genuine row counts for, and the share that follows."""
    return {
        "frauds": int(rows["is_fraud"].sum()),
        "genuine_weight": float(rows["weight"].max()),  # pyright: ignore[reportArgumentType]
        "base_rate": base_rate_average_precision(rows["is_fraud"], weight=rows["weight"]),
    }


@lake_asset(
    contract=CreditcardTransaction,
    describe=balance,
    metadata={"published": FILE, "setting": SETTING},
    required_resource_keys={"published"},
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "dataset", "not_partitioned": "two-days-without-a-calendar"},
    **ABOUT,
)
def creditcard_transactions(context: dg.AssetExecutionContext) -> Described:
    """Real card transactions of two days in September 2013.

    Grain: transaction. The published sample, or the whole creditcard.csv where CONVERGENCE_CREDITCARD names it. Has
    neither cards nor terminals: 28 principal components, time and amount.
    """
    rows = transactions(read(context.resources.published.path(FILE, SETTING)))
    return Described(rows, origins=[origin(rows)])
