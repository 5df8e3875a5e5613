"""The walk-forward: each model, its members and their stack, judged on the week after its date as the Handbook does."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from convergence.markdown import table
from convergence.models import metrics, splits, stored
from convergence.models.gated import scored
from convergence_assets._parts.gated import history, keys_of
from convergence_assets.fraud.contracts import FraudEvaluation
from convergence_assets.fraud.training import FALSE_POSITIVES, SEED, matrix, trees
from convergence_assets.fraud.use_case import MODEL
from convergence_assets.partitions import weekly
from resources.experiments import logged
from resources.keys import key_of
from resources.lake import Described, lake_asset

TEST_WEEKS = weekly(date(2018, 7, 18), date(2018, 8, 8))  # the Handbook's, whose labels are all known at the end
PROTOCOL_DAYS = 7
DELAY_DAYS = MODEL.schedule.delay_days
ALERT_COST = 5.0  # EUR, assumed: ten minutes of an analyst; the data set has no such figure
CANDIDATES = ("xgboost", "network", "linear", "stack")
_TABLES = ("event_date", "candidates", "cost_curve")
# Best of each over the Handbook's models, on its own draw of the simulated data (chapters 5 to 7).
HANDBOOK = {"average_precision": 0.687, "roc_auc": 0.880, "card_precision_100": 0.305}


def evaluate(model: Mapping[str, Any], features: pl.DataFrame, labels: pl.DataFrame) -> dict[str, Any]:
    """The test week of a model as the Handbook judges it, beside one trained on its 7 days: one row of FraudEvaluation.

    Source: Le Borgne et al., Reproducible Machine Learning for Credit Card Fraud Detection, chapters 3 to 5.
    """
    as_of = model["event_date"]
    tested = judged_week(features, labels, as_of)
    seven = splits.training_rows(MODEL.known(features, labels, as_of), as_of, days=PROTOCOL_DAYS, delay=DELAY_DAYS)
    protocol = trees(matrix(seven), json.loads(model["parameters"]))
    candidates = stored.load(model["candidates"], sha256=stored.digest(model["candidates"]), outputs=CANDIDATES)
    rivals = candidates.outputs_of_rows(tested, CANDIDATES)
    ours = scored(model, tested)
    label, score = ours["is_fraud"], ours["score"]
    served = judged(ours)
    allowed = metrics.at_false_positive_rate(label, score, FALSE_POSITIVES)
    alerts = metrics.at_threshold(label, score, model["alert_threshold"])
    return {
        "event_date": as_of,
        "model_version": model["model_version"],
        "test_rows": tested.height,
        "test_frauds": int(label.sum()),
        "base_rate": metrics.base_rate_average_precision(label),
        **served,
        "precision_at_fpr": allowed.precision,
        "recall_at_fpr": allowed.recall,
        "alert_precision": alerts.precision,
        "alert_recall": alerts.recall,
        "alert_false_positive_rate": alerts.false_positive_rate,
        "calibration_error": metrics.calibration_error(label, score),
        "brier": metrics.brier(label, score),
        "candidates": json.dumps(
            [{"candidate": name, **judged(tested.with_columns(score=rivals[name]))} for name in CANDIDATES]
        ),
        "cost_curve": json.dumps(metrics.cost_curve(label, score, ours["amount"], alert_cost=ALERT_COST).to_dicts()),
        **{
            f"{name}_7d": value
            for name, value in judged(tested.with_columns(score=protocol.margins(matrix(tested).values))).items()
            if not name.endswith(("_low", "_high"))
        },
    }


def judged_week(features: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Feature rows of the week from `as_of` on with `is_fraud`, without cards known to be compromised by then."""
    labelled = features.join(labels.select(*MODEL.row, "is_fraud"), on=MODEL.row, maintain_order="left")
    week = splits.evaluation_rows(labelled, as_of)
    return splits.remove_known_compromised(week, labelled, as_of=as_of, delay=DELAY_DAYS, known_days=PROTOCOL_DAYS)


def judged(rows: pl.DataFrame) -> dict[str, float]:
    """How a score ranks: the Handbook's three measures, average precision with its interval."""
    interval = metrics.bootstrap_interval(
        rows, lambda part: metrics.average_precision(part["is_fraud"], part["score"]), repetitions=50, seed=SEED
    )
    return {
        "average_precision": interval.estimate,
        "average_precision_low": interval.low,
        "average_precision_high": interval.high,
        "roc_auc": metrics.roc_auc(rows["is_fraud"], rows["score"]),
        "card_precision_100": metrics.card_precision_at_k(rows),
    }


def figures(rows: pl.DataFrame) -> dict[str, Any]:
    """Every number of an evaluation, which Dagster plots over the weeks, and its tables."""
    row = rows.row(0, named=True)
    numbers = {k: v for k, v in row.items() if isinstance(v, int | float | str) and k not in _TABLES}
    beside = [
        {"candidate": "served", **{k: row[k] for k in ("average_precision", "roc_auc", "card_precision_100")}},
        *json.loads(row["candidates"]),
        {"candidate": "trained on 7 days", **{k: row[f"{k}_7d"] for k in HANDBOOK}},
        {"candidate": "constant score", "average_precision": row["base_rate"], "roc_auc": 0.5},
        {"candidate": "Handbook, best of each", **HANDBOOK},
    ]
    return numbers | {
        "candidates": dg.MetadataValue.md(_table(beside)),
        "cost_curve": dg.MetadataValue.md(
            f"Missed amounts + {ALERT_COST:g} EUR an alert.\n\n" + _table(json.loads(row["cost_curve"]))
        ),
    }


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    """With the columns of all rows; what a row does not have stays empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return table(names, [[row.get(name) for name in names] for row in rows])


@lake_asset(
    contract=FraudEvaluation,
    partitions_def=TEST_WEEKS,
    ins={"model": dg.AssetIn(key_of(MODEL.models))} | history(MODEL, MODEL.schedule.known_week, 0),
    describe=figures,
    metadata={"key_metric": "average_precision"},
    required_resource_keys={"experiments"},
    code_version="2",
    kinds={"scikitlearn", "mlflow"},
    tags={"layer": "evaluation"},
    **keys_of(MODEL),
)
def fraud_evaluation(
    context: dg.AssetExecutionContext,
    model: pl.LazyFrame,
    features: pl.LazyFrame,
    labels: pl.LazyFrame,
) -> Described:
    """Walk-forward evaluation: each model on the week after its date.

    The Handbook's prequential protocol: delay 7 days, test 7, cards known to be compromised removed. Beside the model
    stand its members, their stack, one trained on the protocol's own 7 days, and the trivial baseline. Its partitions
    exist once the labels do.
    """
    inputs, known = features.collect(), labels.collect()
    rows = [evaluate(each, inputs, known) for each in model.sort("event_date").collect().iter_rows(named=True)]
    runs = logged(
        context,
        rows,
        parameters=lambda row: {"test_week": row["event_date"]},
        metrics=lambda row: {k: v for k, v in row.items() if isinstance(v, int | float)},
        files=lambda _: {},
    )
    return Described(pl.DataFrame(rows), runs)
