"""What every churn table holds. The only description of the data: columns, checks and documentation come from here."""

from datetime import date
from typing import Annotated, Any

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import ROW_BY_ROW, StrictColumns

Time = Annotated[pl.Datetime, "us", "UTC"]

# The one column that names a person, under either name that it has.
CUSTOMER: dict[str, Any] = {"description": "The customer", "metadata": {"pii": "identifier", "subject": "customer"}}
_ID = r"^[0-9]{4}-[A-Z]{5}$"
_CHARGES = r"^ *$|^[0-9]{1,8}(\.[0-9]{1,20})?$"  # blank and digit as SQL has them: a space, and 0 to 9
_YES_NO = ["Yes", "No"]
_SERVICE = [*_YES_NO, "No internet service"]


class Event(pa.DataFrameModel):
    """What every row with a time has."""

    event_date: date = pa.Field(description="UTC date of event_time; the partition")
    event_time: Time = pa.Field(description="When the customer was looked at, on the replay clock")

    class Config(StrictColumns):
        """Columns are as declared."""


class _Published(Event):
    """A customer as the company's system exports it, under the names of the published file."""

    arrived_at: Time = pa.Field(description="When the platform could first have known the row")
    customerID: str = pa.Field(str_matches=_ID, **CUSTOMER)  # noqa: N815
    gender: str = pa.Field(isin=["Female", "Male"], description="Gender on record")
    SeniorCitizen: int = pa.Field(isin=[0, 1], description="1: aged 65 or more")
    Partner: str = pa.Field(isin=_YES_NO, description="Whether the customer has a partner")
    Dependents: str = pa.Field(isin=_YES_NO, description="Whether children, parents or others live with the customer")
    tenure: int = pa.Field(ge=0, le=1_200, description="How long a customer", metadata={"unit": "months"})
    PhoneService: str = pa.Field(isin=_YES_NO, description="Whether there is a telephone line")
    MultipleLines: str = pa.Field(isin=[*_YES_NO, "No phone service"], description="Whether there are several lines")
    InternetService: str = pa.Field(isin=["DSL", "Fiber optic", "No"], description="Kind of internet access")
    OnlineSecurity: str = pa.Field(isin=_SERVICE, description="Whether online security is booked")
    OnlineBackup: str = pa.Field(isin=_SERVICE, description="Whether online backup is booked")
    DeviceProtection: str = pa.Field(isin=_SERVICE, description="Whether device protection is booked")
    TechSupport: str = pa.Field(isin=_SERVICE, description="Whether technical support is booked")
    StreamingTV: str = pa.Field(isin=_SERVICE, description="Whether television is streamed")
    StreamingMovies: str = pa.Field(isin=_SERVICE, description="Whether films are streamed")
    Contract: str = pa.Field(isin=["Month-to-month", "One year", "Two year"], description="Term of the contract")
    PaperlessBilling: str = pa.Field(isin=_YES_NO, description="Whether bills come by e-mail")
    PaymentMethod: str = pa.Field(
        isin=["Electronic check", "Mailed check", "Bank transfer (automatic)", "Credit card (automatic)"],
        description="How bills are paid",
    )
    MonthlyCharges: float = pa.Field(ge=0, le=10_000, description="Charge of the month", metadata={"unit": "USD"})
    TotalCharges: str = pa.Field(
        str_matches=_CHARGES,
        description="Charges so far, as text; blank for customers of tenure 0",
        metadata={"unit": "USD"},
    )

    @pa.dataframe_check(name="charges_are_blank_in_the_first_month_only", title=ROW_BY_ROW)
    @classmethod
    def has_charges(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """A customer of a month or more was charged something."""
        return data.lazyframe.select((pl.col("tenure") == 0) | (pl.col("TotalCharges").str.strip_chars(" ") != ""))


class RawCustomer(_Published):
    """A customer as it arrived, label included: the data set publishes both in one row."""

    Churn: str = pa.Field(isin=_YES_NO, description="Whether the customer left within the month that follows")
    source: str = pa.Field(description="Partition of the topic that the message came from")
    offset: int = pa.Field(ge=0, description="Position of the message in its source")


class Customer(_Published):
    """A customer on the day that it was looked at, as published, without the label."""

    customerID: str = pa.Field(unique=True, str_matches=_ID, **CUSTOMER)  # noqa: N815


class Label(Event):
    """Whether a customer left, and when that was known."""

    label_time: Time = pa.Field(
        description="When the label became known: a month of 28 days later", metadata={"from": ["accounts.event_time"]}
    )
    customer_id: str = pa.Field(unique=True, **CUSTOMER)
    contract: str = pa.Field(description="Term of the contract")
    internet_service: str = pa.Field(description="Kind of internet access")
    payment_method: str = pa.Field(description="How bills are paid")
    churned: bool = pa.Field(
        description="Whether the customer left within the month", metadata={"from": ["raw_customers.Churn"]}
    )

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {"rows_of": "accounts"}


class KnownLabel(Event):
    """A label as features see it: it arrives when it becomes known."""

    arrived_at: Time = pa.Field(description="label_time", metadata={"from": ["churn_labels.label_time"]})
    customer_id: str
    contract: str
    internet_service: str
    payment_method: str
    churned: bool


class Account(Event):
    """What a customer has and pays, typed, as dbt's mart_accounts gives it."""

    arrived_at: Time = pa.Field(description="When the platform could first have known the account")
    customer_id: str = pa.Field(unique=True, **CUSTOMER)
    gender: str = pa.Field(isin=["female", "male"], description="Gender on record")
    senior: bool = pa.Field(description="Aged 65 or more")
    partner: bool = pa.Field(description="Has a partner")
    dependents: bool = pa.Field(description="Children, parents or others live with the customer")
    tenure_months: int = pa.Field(ge=0, description="How long a customer", metadata={"unit": "months"})
    phone_service: bool = pa.Field(description="Has a telephone line")
    multiple_lines: bool = pa.Field(description="Has several lines")
    internet_service: str = pa.Field(isin=["none", "dsl", "fiber_optic"], description="Kind of internet access")
    online_security: bool = pa.Field(description="Has booked online security")
    online_backup: bool = pa.Field(description="Has booked online backup")
    device_protection: bool = pa.Field(description="Has booked device protection")
    tech_support: bool = pa.Field(description="Has booked technical support")
    streaming_tv: bool = pa.Field(description="Streams television")
    streaming_movies: bool = pa.Field(description="Streams films")
    contract: str = pa.Field(isin=["month_to_month", "one_year", "two_year"], description="Term of the contract")
    paperless_billing: bool = pa.Field(description="Bills come by e-mail")
    payment_method: str = pa.Field(
        isin=["electronic_check", "mailed_check", "bank_transfer", "credit_card"], description="How bills are paid"
    )
    monthly_charges: float = pa.Field(ge=0, description="Charge of the month", metadata={"unit": "USD"})
    total_charges: float = pa.Field(
        ge=0, description="Charges so far; 0 in the first month, where it is published blank", metadata={"unit": "USD"}
    )
    mean_monthly_charges: float = pa.Field(
        ge=0,
        description="Charges so far by month of tenure; those of this month in the first",
        metadata={"unit": "USD"},
    )
    charge_change: float = pa.Field(
        description="Charge of the month less the mean of the months", metadata={"unit": "USD"}
    )
    service_count: int = pa.Field(
        ge=0, le=9, description="Services booked: telephone, lines, internet and its six extras"
    )

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {"rows_of": "mart_accounts"}
