"""A model per week as of its date, the gate that may make it champion, and its walk-forward evaluation."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from hashlib import blake2b
from typing import Any

import dagster as dg
import polars as pl

from convergence.features.point_in_time import point_in_time_join
from convergence.lake.contracts import schema_of
from convergence.models import boosting, metrics, promotions, splits
from convergence_assets.fraud.arrivals import LABEL_DELAY
from convergence_assets.fraud.contracts import FraudEvaluation, FraudModel, FraudPromotion
from convergence_assets.fraud.feature_views import MODEL_INPUT
from convergence_assets.partitions import weekly, window
from resources.lake import lake_asset

MODEL_WEEKS = weekly(date(2018, 7, 18), date(2018, 8, 29))
TEST_WEEKS = weekly(date(2018, 7, 18), date(2018, 8, 8))  # the Handbook's, whose labels are all known at the end

# The longest window that the first model's date allows once features have some history: not tuned on the test weeks.
TRAINING_DAYS, GATE_DAYS, PROTOCOL_DAYS = 84, 7, 7
DELAY_DAYS = LABEL_DELAY.days

# Chosen on the test weeks of 2018-05-16 to 07-04, whose labels precede every week that is judged.
SEED, ROUNDS = 7, 150
PARAMETERS: Mapping[str, Any] = {
    "max_depth": 5,
    "eta": 0.05,
    "min_child_weight": 5,
    "lambda": 10,
    "subsample": 0.8,
    "colsample_bytree": 0.4,
}

_FRAUD = {"key_prefix": "fraud", "group_name": "fraud", "owners": ["team:fraud"]}
_ROW = ("event_date", "transaction_id")
_WEEKS_BACK = -((TRAINING_DAYS + GATE_DAYS + DELAY_DAYS) // 7)


def known_labels(features: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Feature rows whose label was known at the start of `as_of`, with `is_fraud`."""
    cut = datetime.combine(as_of, time(), UTC)
    spine = features.with_columns(known_by=pl.lit(cut, pl.Datetime("us", "UTC")))
    facts = labels.select(*_ROW, "event_time", "label_time", "is_fraud", sequence="transaction_id")
    joined = point_in_time_join(
        spine, facts, by=_ROW, sequence="sequence", known_by="known_by", fact_known="label_time"
    )
    return joined.filter(pl.col("is_fraud").is_not_null()).sort("event_time", "transaction_id")


def fit(rows: pl.DataFrame) -> str:
    """A model of is_fraud on the view's features."""
    return boosting.fit(
        rows.select(MODEL_INPUT), rows["is_fraud"], rounds=ROUNDS, params=PARAMETERS, seed=SEED, nthread=2
    )


def scored(model: str, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the model's `score`."""
    scores = boosting.predict(model, rows.select(boosting.feature_names(model)), nthread=2)
    return rows.with_columns(score=pl.Series(scores, dtype=pl.Float64))


def train(features: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> dict[str, Any]:
    """The model as of a date: one row of FraudModel. The newest GATE_DAYS of known labels are kept from the fit."""
    known = known_labels(features, labels, as_of)
    rows = splits.training_rows(known, as_of, days=TRAINING_DAYS, delay=DELAY_DAYS + GATE_DAYS)
    model = fit(rows)
    return {
        "event_date": as_of,
        "model_version": f"{as_of}.{blake2b(model.encode(), digest_size=4).hexdigest()}",
        "model": model,
        "training_first_day": rows["event_date"].min(),
        "training_last_day": rows["event_date"].max(),
        "training_rows": rows.height,
        "training_frauds": int(rows["is_fraud"].sum()),
        "parameters": json.dumps({**PARAMETERS, "rounds": ROUNDS, "seed": SEED}),
    }


def decide(
    challenger: Mapping[str, Any], champion: Mapping[str, Any] | None, features: pl.DataFrame, labels: pl.DataFrame
) -> dict[str, Any] | None:
    """The gate's decision on a challenger: one row of FraudPromotion, or None where nobody may serve."""
    as_of = challenger["event_date"]
    rows = splits.training_rows(known_labels(features, labels, as_of), as_of, days=GATE_DAYS, delay=DELAY_DAYS)
    ours = promotions.Scores(challenger["model_version"], scored(challenger["model"], rows))
    theirs = promotions.Scores(champion["model_version"], scored(champion["model"], rows)) if champion else None
    verdict = promotions.gate(ours, theirs, repetitions=50)
    serving = {**challenger, "model_as_of": as_of} if verdict.passed else champion
    if serving is None:
        return None
    return {
        "event_date": as_of,
        "valid_from": as_of,
        "model_version": serving["model_version"],
        "model_as_of": serving["model_as_of"],
        "decided_at": datetime.combine(as_of, time(), UTC),
        "reason": verdict.reason,
        "challenger_version": challenger["model_version"],
        "promoted": verdict.passed,
        "gate_average_precision": metrics.average_precision(ours.rows["is_fraud"], ours.rows["score"]),
        "gate": json.dumps(verdict.rules.to_dicts()),
        "model": serving["model"],
    }


def evaluate(model: Mapping[str, Any], features: pl.DataFrame, labels: pl.DataFrame) -> dict[str, Any]:
    """The test week of a model as the Handbook judges it, beside one trained on its 7 days: one row of FraudEvaluation.

    Source: Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection, chapters 3 to 5.
    """
    as_of = model["event_date"]
    labelled = features.join(labels.select(*_ROW, "is_fraud"), on=_ROW, maintain_order="left")
    week = splits.evaluation_rows(labelled, as_of)
    tested = splits.remove_known_compromised(week, labelled, as_of=as_of, delay=DELAY_DAYS, known_days=PROTOCOL_DAYS)
    ours = scored(model["model"], tested)
    seven = splits.training_rows(known_labels(features, labels, as_of), as_of, days=PROTOCOL_DAYS, delay=DELAY_DAYS)
    protocol = scored(fit(seven), tested)
    interval = metrics.bootstrap_interval(
        ours, lambda rows: metrics.average_precision(rows["is_fraud"], rows["score"]), repetitions=50, seed=SEED
    )
    return {
        "event_date": as_of,
        "model_version": model["model_version"],
        "test_rows": tested.height,
        "test_frauds": int(tested["is_fraud"].sum()),
        "base_rate": metrics.base_rate_average_precision(tested["is_fraud"]),
        "average_precision": interval.estimate,
        "average_precision_low": interval.low,
        "average_precision_high": interval.high,
        "roc_auc": metrics.roc_auc(ours["is_fraud"], ours["score"]),
        "card_precision_100": metrics.card_precision_at_k(ours),
        "average_precision_7d": metrics.average_precision(protocol["is_fraud"], protocol["score"]),
        "roc_auc_7d": metrics.roc_auc(protocol["is_fraud"], protocol["score"]),
        "card_precision_100_7d": metrics.card_precision_at_k(protocol),
    }


def model_card(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a model."""
    row = rows.row(0, named=True)
    gains = boosting.importance(row["model"]).head(8)
    return {
        "model_version": row["model_version"],
        "training_rows": row["training_rows"],
        "training_frauds": row["training_frauds"],
        "size_mb": round(len(row["model"]) / 1e6, 2),
        "model_card": dg.MetadataValue.md(
            f"**{row['model_version']}**: XGBoost on transactions of {row['training_first_day']} to "
            f"{row['training_last_day']}, labels known by {row['event_date']}. Parameters `{row['parameters']}`.\n\n"
            "| feature | mean gain |\n|---|---|\n" + "\n".join(f"| {f} | {g:.1f} |" for f, g in gains.iter_rows())
        ),
    }


def gate_table(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a decision."""
    row = rows.row(0, named=True)
    rules = [dg.TableRecord(rule) for rule in json.loads(row["gate"])]
    return {
        "champion": row["model_version"],
        "gate_average_precision": row["gate_average_precision"],
        "promoted": row["promoted"],
        "reason": row["reason"],
        "gate": dg.MetadataValue.table(rules),
    }


def figures(rows: pl.DataFrame) -> dict[str, Any]:
    """Every number of an evaluation: Dagster plots them over the weeks."""
    return {k: v for k, v in rows.row(0, named=True).items() if k != "event_date"}


def _weeks(context: dg.AssetExecutionContext) -> list[date]:
    return [date.fromisoformat(key) for key in context.partition_keys]


def _ins(first: int, last: int, **more: dg.AssetIn) -> dict[str, dg.AssetIn]:
    daily = window(first, last)
    return {
        n: dg.AssetIn(key_prefix="fraud", partition_mapping=daily) for n in ("transaction_features", "labels")
    } | more


@lake_asset(
    contract=FraudModel,
    partitions_def=MODEL_WEEKS,
    ins=_ins(_WEEKS_BACK, -2),  # through the last day whose labels are all known
    describe=model_card,
    required_resource_keys={"experiments"},
    code_version="1",
    kinds={"xgboost", "mlflow"},
    tags={"layer": "model"},
    **_FRAUD,
)
def fraud_model(
    context: dg.AssetExecutionContext, transaction_features: pl.LazyFrame, labels: pl.LazyFrame
) -> pl.DataFrame:
    """Fraud model of each week, as of its date.

    Trained on labels known at the start of the date; the newest week of them is kept for the gate. The row is the
    model: XGBoost JSON with its feature order inside. Never rebuilt by itself: a person, a schedule or drift decides.
    """
    features, known = transaction_features.collect(), labels.collect()
    models = [train(features, known, as_of) for as_of in _weeks(context)]
    for row in models:
        context.resources.experiments.log(
            "fraud_model",
            row["model_version"],
            parameters=json.loads(row["parameters"]),
            metrics={k: row[k] for k in ("training_rows", "training_frauds")},
            files={"model.json": row["model"]},
        )
    return pl.DataFrame(models)


@lake_asset(
    contract=FraudPromotion,
    partitions_def=MODEL_WEEKS,
    ins=_ins(-2, -2, fraud_model=dg.AssetIn(key_prefix="fraud")),
    describe=gate_table,
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "release"},
    **_FRAUD,
)
def fraud_promotions(
    context: dg.AssetExecutionContext,
    fraud_model: pl.LazyFrame,
    transaction_features: pl.LazyFrame,
    labels: pl.LazyFrame,
) -> pl.DataFrame:
    """Which model serves from each as-of date on, decided by the gate.

    The challenger and the champion of the week before score the newest labelled week that the challenger's fit has
    not seen. A refused challenger leaves the champion in place.
    """
    features, known = transaction_features.collect(), labels.collect()
    champion = _champion_before(context)
    decisions: list[dict[str, Any]] = []
    for challenger in fraud_model.sort("event_date").collect().iter_rows(named=True):
        decision = decide(challenger, champion, features, known)
        if decision:
            champion = decision
            decisions.append(decision)
            context.log.info(decision["reason"])
    return pl.DataFrame(decisions, schema=schema_of(FraudPromotion))


def _champion_before(context: dg.AssetExecutionContext) -> dict[str, Any] | None:
    """The newest decision of an earlier week: the table's own past, which no partition mapping expresses in a range."""
    lake = context.resources.lake.lake
    if lake.open("fraud/fraud_promotions") is None:
        return None
    earlier = lake.scan("fraud/fraud_promotions").filter(pl.col("valid_from") < _weeks(context)[0])
    return next(earlier.sort("valid_from", "decided_at").tail(1).collect().iter_rows(named=True), None)


@lake_asset(
    contract=FraudEvaluation,
    partitions_def=TEST_WEEKS,
    ins=_ins(-2, 0, fraud_model=dg.AssetIn(key_prefix="fraud")),
    describe=figures,
    metadata={"key_metric": "average_precision"},
    required_resource_keys={"experiments"},
    code_version="1",
    kinds={"scikitlearn", "mlflow"},
    tags={"layer": "evaluation"},
    **_FRAUD,
)
def fraud_evaluation(
    context: dg.AssetExecutionContext,
    fraud_model: pl.LazyFrame,
    transaction_features: pl.LazyFrame,
    labels: pl.LazyFrame,
) -> pl.DataFrame:
    """Walk-forward evaluation: each model on the week after its date.

    The Handbook's prequential protocol: delay 7 days, test 7, cards known to be compromised removed. Beside the model
    stands one trained on the protocol's own 7 days, and the trivial baseline. Its partitions exist once the labels do.
    """
    features, known = transaction_features.collect(), labels.collect()
    rows = [
        evaluate(model, features, known) for model in fraud_model.sort("event_date").collect().iter_rows(named=True)
    ]
    for row in rows:
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float)}
        context.resources.experiments.log(
            "fraud_evaluation",
            row["model_version"],
            parameters={"test_week": row["event_date"]},
            metrics=numbers,
            files={},
        )
    return pl.DataFrame(rows)
