from datetime import date
from typing import Annotated

import pandera.polars as pa
import polars as pl
import pytest
from pandera.errors import SchemaErrors

from convergence.features.contract import feature_contract
from convergence.lake.contracts import Contract, schema_of
from tests.convergence.features.planted import BEGIN, DAY, VIEW, honest, sources

Time = Annotated[pl.Datetime, "us", "UTC"]


class Kept(pa.DataFrameModel):
    event_date: date
    payment_id: int = pa.Field(unique=True, description="The key")
    customer: int
    amount: float
    event_time: Time
    arrived_at: Time

    class Config:
        strict = True


class Label(pa.DataFrameModel):
    event_date: date
    event_time: Time
    arrived_at: Time
    payment_id: int
    customer: int
    is_fraud: bool


def contract() -> Contract:
    return feature_contract(VIEW, "PaymentFeatures", Kept, {"payments": Kept, "labels": Label})


def rows() -> pl.DataFrame:
    return honest(**sources(), start=BEGIN + 5 * DAY, end=BEGIN + 8 * DAY)


def test_the_kept_columns_come_first_and_then_the_features() -> None:
    assert schema_of(contract()).names() == [*schema_of(Kept).names(), *VIEW.features]


def test_types_are_those_that_the_view_computes() -> None:
    computed = rows().schema
    assert {name: schema_of(contract())[name] for name in VIEW.features} == {n: computed[n] for n in VIEW.features}


def test_descriptions_are_those_of_the_view() -> None:
    columns = contract().to_schema().columns
    assert {name: columns[name].description for name in VIEW.features} == dict(VIEW.descriptions)


def test_counts_are_never_null_and_other_aggregates_may_be() -> None:
    columns = contract().to_schema().columns
    assert {name: columns[name].nullable for name in VIEW.features} == {
        "count_7d": False,
        "mean_amount_7d": True,
        "frauds_7d": False,
    }


def test_computed_rows_keep_the_contract() -> None:
    assert contract().validate(rows(), lazy=True).height > 10


@pytest.mark.parametrize(
    "change",
    [
        pl.lit(None, pl.Int64).alias("count_7d"),
        pl.col("count_7d").cast(pl.Float64),
        pl.lit(1).alias("payment_id"),
        pl.lit(1).alias("unknown"),
    ],
    ids=["null count", "other type", "repeated key", "extra column"],
)
def test_rows_that_break_it_are_refused(change: pl.Expr) -> None:
    with pytest.raises(SchemaErrors):
        contract().validate(rows().with_columns(change), lazy=True)


def test_it_has_a_name_and_the_module_of_what_is_kept() -> None:
    assert (contract().__name__, contract().__module__) == ("PaymentFeatures", Kept.__module__)
