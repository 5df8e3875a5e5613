"""What the churn use case consists of: its calendar, and the model behind its gate."""

from datetime import date, timedelta

from convergence.features.online_state import fingerprint
from convergence.lake.contracts import schema_of
from convergence.models.gated import GatedModel, Schedule
from convergence.models.tasks import Limits, binary
from convergence_assets.churn.contracts import Account, KnownLabel
from convergence_assets.churn.feature_views import CUSTOMER_FEATURES, MODEL_INPUT

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2024, 4, 21)
LABEL_DELAY = timedelta(days=28)  # "left within the last month": known a month later

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
