"""What the fraud use case consists of: its calendar, and the model behind its gate."""

from datetime import date, timedelta

from convergence.features.online_state import fingerprint
from convergence.lake.contracts import schema_of
from convergence.models import metrics
from convergence.models.gated import Figure, GatedModel, Schedule
from convergence.models.tasks import binary
from convergence_assets.fraud.contracts import KnownLabel, Transaction
from convergence_assets.fraud.feature_views import MODEL_INPUT, TRANSACTION_FEATURES

FIRST_DAY, LAST_DAY = date(2018, 4, 1), date(2018, 8, 31)
LABEL_DELAY = timedelta(days=7)

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
