"""What the churn use case consists of."""

from collections.abc import Mapping
from datetime import date, timedelta

from convergence.features.online_state import fingerprint
from convergence.lake.contracts import schema_of
from convergence.lake.tables import Lake
from convergence.marked_pages import MarkedPages
from convergence.models.gated import GatedModel, Schedule
from convergence.models.tasks import Limits, binary
from convergence.use_case import UseCase
from convergence_assets.churn.arrivals import FIRST_DAY, LAST_DAY, TOPIC
from convergence_assets.churn.contracts import Account, KnownLabel
from convergence_assets.churn.datasets import LABEL_DELAY, customer_rows
from convergence_assets.churn.feature_views import CUSTOMER_FEATURES, MODEL_INPUT, VIEWS

MODEL = GatedModel(
    use_case="churn",
    name="churn_model",
    # A quarter of the customers leave: five times a constant score's average precision, the default, is out of reach,
    # and half of the base rate would let any calibration pass.
    task=binary("churned", "customer_id", limits=Limits(of_baseline=2.0, calibration_error=0.25)),
    schedule=Schedule(
        first=date(2024, 2, 26),  # the earliest with three weeks to fit on: four are lost to the delay, one to the gate
        last=date(2024, 4, 15),
        training_days=84,  # all that is known: the replay clock has no trend, so more rows are only better
        gate_days=7,
        delay_days=LABEL_DELAY.days,
        oldest_champion_days=56,
    ),
    features="churn/customer_features",
    labels="churn/churn_labels",
    inputs=MODEL_INPUT,
    view=CUSTOMER_FEATURES.name,
    fingerprint=fingerprint(CUSTOMER_FEATURES, {"accounts": schema_of(Account), "churn_labels": schema_of(KnownLabel)}),
    extras=("model",),
    window_days=(7,),  # the 63 customers of a day alone say too little
    watched={"profiles": "customer_profiles"},
)


def _numbers(lake: Lake) -> Mapping[str, str]:
    from convergence_assets.churn.pages import numbers

    return numbers(lake)


USE_CASE = UseCase(
    name="churn",
    owner="team:churn",
    calendar=(FIRST_DAY, LAST_DAY),
    topics=(TOPIC,),
    models=(MODEL,),
    views=VIEWS,
    pages=(MarkedPages(("docs/churn.md",), _numbers),),
    fresh={"churn/customer_features": timedelta(hours=25)},
    as_of_now={"churn/customers": customer_rows},
)
