from datetime import date

import pandera.polars as pa
import polars as pl

from resources.contract_metadata import column_schema
from tests.resources.readings import readings, values_of


class Payment(pa.DataFrameModel):
    event_date: date = pa.Field(description="The day")
    payment_id: int = pa.Field(unique=True, description="The key")
    amount: float = pa.Field(ge=0, le=10, nullable=True, description="Paid", metadata={"unit": "EUR", "source": "bank"})
    holder: str = pa.Field(description="Who", metadata={"pii": "pseudonym"})


def columns() -> dict:
    return {column.name: column for column in column_schema(Payment).columns}


def test_every_column_is_shown_in_order_with_its_type_and_description() -> None:
    assert [(c.name, c.type, c.description) for c in column_schema(Payment).columns] == [
        ("event_date", str(pl.Date()), "The day"),
        ("payment_id", str(pl.Int64()), "The key"),
        ("amount", str(pl.Float64()), "Paid"),
        ("holder", str(pl.String()), "Who"),
    ]


def test_nullability_and_uniqueness_are_shown() -> None:
    assert {n: (c.constraints.nullable, c.constraints.unique) for n, c in columns().items()} == {
        "event_date": (False, False),
        "payment_id": (False, True),
        "amount": (True, False),
        "holder": (False, False),
    }


def test_the_rules_of_a_column_are_shown() -> None:
    assert columns()["amount"].constraints.other == ["greater_than_or_equal_to(0)", "less_than_or_equal_to(10)"]
    assert columns()["holder"].constraints.other == []


def test_unit_and_personal_data_are_tags_and_nothing_else_is() -> None:
    assert columns()["amount"].tags == {"unit": "EUR"}
    assert columns()["holder"].tags == {"pii": "pseudonym"}
    assert columns()["event_date"].tags == {}


def test_a_lake_asset_shows_its_contract() -> None:
    asset = readings(values_of())
    metadata = asset.metadata_by_key[asset.key]
    assert [c.name for c in metadata["dagster/column_schema"].columns] == ["event_date", "value"]
    assert metadata["contract"] == "tests.resources.readings.Reading"
    assert metadata["dagster/table_name"] == "readings"
