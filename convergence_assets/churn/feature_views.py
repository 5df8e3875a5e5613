"""The features of a customer, declared once: computed by batch, backfill, checks and documentation alike."""

from datetime import timedelta
from typing import Any

import narwhals as nw

from convergence.features.contract import feature_contract
from convergence.features.groups import FeatureTable
from convergence.features.views import Aggregate, FeatureView, RowExpression
from convergence.lake.contracts import schema_of
from convergence_assets.churn.contracts import Account, KnownLabel

DAY = timedelta(days=1)
LABEL_DELAY = 28 * DAY
CENT = 0.01

_SEGMENT = ("contract", "internet_service", "payment_method")
_KNOWN: dict[str, Any] = {"source": "churn_labels", "window": 56 * DAY, "delay": LABEL_DELAY}

_SERVICES = ("phone_service", "multiple_lines", "online_security", "online_backup", "device_protection",
             "tech_support", "streaming_tv", "streaming_movies")  # fmt: skip
_KEPT = ("senior", "partner", "dependents", "tenure_months", *_SERVICES, "paperless_billing", "monthly_charges",
         "total_charges", "mean_monthly_charges", "charge_change", "service_count")  # fmt: skip


def _rate(name: str, entity: tuple[str, ...], of: str) -> Aggregate:
    return Aggregate(f"{name}_churn_rate_56d", entity=entity, function="mean", column="churned", **_KNOWN,
                     description=f"Share of customers {of} that left, over 56 days of known labels")  # fmt: skip


def _is(name: str, column: str, value: str, said: str) -> RowExpression:
    return RowExpression(name, nw.col(column) == value, said)


CUSTOMER_FEATURES = FeatureView(
    "customer_features",
    description="What was known about a customer and others like it on the day that it was looked at",
    source="accounts",
    sequence="customer_id",
    keep=tuple(name for name in schema_of(Account) if name not in ("event_time", "arrived_at")),
    aggregates=(
        _rate("contract", ("contract",), "on the same term"),
        _rate("internet", ("internet_service",), "with the same internet access"),
        _rate("payment", ("payment_method",), "who pay the same way"),
        _rate("segment", _SEGMENT, "with the same term, access and payment"),
        Aggregate("segment_known_56d", entity=_SEGMENT, function="count", **_KNOWN,
                  description="Customers with the same term, access and payment in 56 days of known labels"),
        Aggregate("segment_mean_charges_28d", entity=_SEGMENT, function="mean", column="monthly_charges",
                  resolution=CENT, window=28 * DAY,
                  description="Mean monthly charge of customers with the same term, access and payment, in USD"),
    ),
    expressions=(
        _is("month_to_month", "contract", "month_to_month", "Can leave every month"),
        _is("two_years", "contract", "two_year", "Is bound for two years"),
        _is("fiber_optic", "internet_service", "fiber_optic", "Has internet access by fiber"),
        _is("no_internet", "internet_service", "none", "Has no internet access"),
        _is("electronic_check", "payment_method", "electronic_check", "Pays by electronic check"),
        _is("mailed_check", "payment_method", "mailed_check", "Pays by mailed check"),
        _is("credit_card", "payment_method", "credit_card", "Pays by credit card"),
        RowExpression("newness", 1 / (nw.col("tenure_months") + 1), "1 in the first month, falling with tenure"),
        RowExpression("charges_to_segment", nw.col("monthly_charges") / nw.col("segment_mean_charges_28d"),
                      "Monthly charge relative to the mean of customers alike"),
    ),
)  # fmt: skip

CustomerFeatures = feature_contract(
    CUSTOMER_FEATURES,
    "CustomerFeatures",
    Account,
    {"accounts": Account, "churn_labels": KnownLabel},
    module=__name__,
)

DESCRIPTIONS = {name: column.description or name for name, column in CustomerFeatures.to_schema().columns.items()}
# Not gender, which fairness is watched by; and not what is counted over a window alone: history begins with empty
# windows, and labels 28 days later, so models would be fitted on blanks and then see values (drift says so at once).
MODEL_INPUT = (*_KEPT, *(expression.name for expression in CUSTOMER_FEATURES.expressions))

VIEWS = (FeatureTable("churn/customer_features", CUSTOMER_FEATURES, CustomerFeatures, MODEL_INPUT, lasting=True),)
