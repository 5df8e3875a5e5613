"""What the fraud use case consists of."""

from collections.abc import Mapping
from datetime import date, timedelta

from convergence.features.online_state import fingerprint
from convergence.lake.contracts import schema_of
from convergence.lake.tables import Lake
from convergence.marked_pages import MarkedPages
from convergence.models import metrics
from convergence.models.gated import Figure, GatedModel, Schedule
from convergence.models.tasks import binary
from convergence.serving.use_case import ServedModel, ServedUseCase
from convergence.use_case import UseCase
from convergence_assets.fraud.arrivals import FIRST_DAY, LAST_DAY, TOPIC
from convergence_assets.fraud.contracts import KnownLabel, Transaction
from convergence_assets.fraud.datasets import LABEL_DELAY, label_rows, transaction_rows
from convergence_assets.fraud.feature_views import DESCRIPTIONS, MODEL_INPUT, TRANSACTION_FEATURES, VIEWS
from convergence_assets.fraud.requests import FEATURES, TransactionToScore

_SHARE = {"ge": 0, "le": 1}

MODEL = GatedModel(
    use_case="fraud",
    name="fraud_model",
    task=binary("is_fraud", "transaction_id", repetitions=50),
    schedule=Schedule(
        first=date(2018, 7, 18),
        last=date(2018, 8, 29),
        training_days=84,  # the longest that the first date allows once features have history: not tuned on test weeks
        gate_days=7,
        delay_days=LABEL_DELAY.days,
        oldest_champion_days=42,
    ),
    features="fraud/transaction_features",
    labels="fraud/labels",
    inputs=MODEL_INPUT,
    view=TRANSACTION_FEATURES.name,
    fingerprint=fingerprint(
        TRANSACTION_FEATURES, {"transactions": schema_of(Transaction), "labels": schema_of(KnownLabel)}
    ),
    figures=(
        Figure("frauds", "Frauds among them", lambda rows: int(rows["label"].sum()), int, {"gt": 0}),
        Figure(
            "card_precision_100",
            "Compromised among the 100 most suspicious cards a day",
            metrics.card_precision_at_k,
            allowed=_SHARE,
        ),
    ),
    extras=("model", "alert_threshold"),
    performance_limit=0.05,
    fixed_by_the_day=frozenset({"is_weekend"}),
    watched={
        "profiles": "feature_profiles",
        **{name: name for name in ("score_profiles", "score_references", "drift", "drift_report", "score_performance")},
    },
)

SERVED = ServedUseCase(
    name="fraud",
    features=FEATURES,
    row=TransactionToScore,
    model=ServedModel(
        MODEL.name, MODEL.table("promotions"), MODEL.inputs, models=MODEL.models, drift=MODEL.table("drift")
    ),
    words=DESCRIPTIONS,
)


def _numbers(lake: Lake) -> Mapping[str, str]:
    from convergence_assets.fraud.pages import numbers

    return numbers(lake)


def _parity(lake: Lake) -> Mapping[str, str]:
    from convergence_assets.fraud.pages import parity

    return parity(lake)


USE_CASE = UseCase(
    name="fraud",
    owner="team:fraud",
    calendar=(FIRST_DAY, LAST_DAY),
    topics=(TOPIC,),
    models=(MODEL,),
    views=VIEWS,
    services=(SERVED,),
    pages=(MarkedPages(("README.md", "docs/fraud.md"), _numbers, apart=(_parity,)),),
    fresh={
        "fraud/transaction_features": timedelta(hours=25),  # an hour after the topic is called silent: they follow it
        "fraud/online_state": timedelta(days=7),  # follows by itself meanwhile; a filling takes in what it could not
        "fraud/fraud_scores": timedelta(hours=49),  # a day is scored on the next one
    },
    as_of_now={"fraud/transactions": transaction_rows, "fraud/labels": label_rows},
    tried=TOPIC,
    minutes=20,  # a model for each of seven weeks
)
