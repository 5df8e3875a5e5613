"""Contracts that the tests of this folder make documents, changes and expectations from."""

from datetime import date

import pandera.polars as pa

from convergence.contracts.standard import Table
from convergence.lake.contracts import StrictColumns


class Payment(pa.DataFrameModel):
    """One payment."""

    event_date: date = pa.Field(description="The partition")
    id: int = pa.Field(unique=True, ge=0, description="Business key")
    customer: str = pa.Field(
        str_matches="c[0-9]+", description="Who pays", metadata={"pii": "identifier", "subject": "customer"}
    )
    amount: float = pa.Field(gt=0, le=100, description="What is paid", metadata={"unit": "EUR"})
    kind: str = pa.Field(isin=["cash", "card"], nullable=True, description="How it is paid")
    code: str = pa.Field(str_length=3, description="Where it is paid")
    old: int = pa.Field(
        nullable=True, description="Goes", metadata={"deprecated": {"since": "1.1.0", "until": "2.0.0", "use": "id"}}
    )
    photo: bytes = pa.Field(nullable=True, description="Of the receipt")

    class Config(StrictColumns):
        """Columns are as declared."""


class Rate(pa.DataFrameModel):
    """A rate of a day and a kind."""

    day: date
    kind: str
    rate: float = pa.Field(in_range={"min_value": 0, "max_value": 1, "include_max": False})

    @pa.dataframe_check
    def kinds_are_complete(cls, data: pa.PolarsData):  # noqa: N805
        return data.lazyframe.select(kind_count=1)

    class Config:
        unique = ["day", "kind"]


PAYMENTS = Table("shop/payments", Payment, "Payments.", "dataset", ("team:shop",), 1, 25.0, ("shop/sums",))
RATES = Table("shop/rates", Rate)
