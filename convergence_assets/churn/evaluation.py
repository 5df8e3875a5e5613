"""The walk-forward: each model judged on the week after its date, once the labels are known."""

from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from convergence.models import metrics, splits
from convergence.models.gated import scored
from convergence_assets._parts.gated import history, keys_of
from convergence_assets.churn.model_contracts import ChurnEvaluation
from convergence_assets.churn.use_case import MODEL
from convergence_assets.partitions import weekly
from resources.experiments import logged
from resources.keys import key_of
from resources.lake import Described, lake_asset

TEST_WEEKS = weekly(MODEL.schedule.first, date(2024, 3, 18))  # those whose labels are known by the end of the data


def evaluate(model: Mapping[str, Any], features: pl.DataFrame, labels: pl.DataFrame) -> dict[str, Any]:
    """The test week of a model: one row of ChurnEvaluation."""
    as_of = model["event_date"]
    labelled = features.join(labels.select(*MODEL.row, "churned"), on=MODEL.row, how="inner", maintain_order="left")
    rows = scored(model, splits.evaluation_rows(labelled, as_of))
    label, score = rows["churned"], rows["score"]
    auc = metrics.bootstrap_interval(rows, lambda part: metrics.roc_auc(part["churned"], part["score"]))
    return {
        "event_date": as_of,
        "model_version": model["model_version"],
        "test_rows": rows.height,
        "test_churned": int(label.sum()),
        "base_rate": metrics.base_rate_average_precision(label),
        "roc_auc": auc.estimate,
        "roc_auc_low": auc.low,
        "roc_auc_high": auc.high,
        "average_precision": metrics.average_precision(label, score),
        "brier": metrics.brier(label, score),
        "calibration_error": metrics.calibration_error(label, score),
        "lift_10": metrics.lift(label, score, 0.1),
    }


def figures(rows: pl.DataFrame) -> dict[str, Any]:
    """Every number of an evaluation, which Dagster plots over the weeks."""
    return {name: value for name, value in rows.row(0, named=True).items() if name != "event_date"}


@lake_asset(
    contract=ChurnEvaluation,
    partitions_def=TEST_WEEKS,
    ins={"model": dg.AssetIn(key_of(MODEL.models))} | history(MODEL, 0, 0),
    describe=figures,
    metadata={"key_metric": "roc_auc"},
    required_resource_keys={"experiments"},
    code_version="1",
    kinds={"scikitlearn", "mlflow"},
    tags={"layer": "evaluation"},
    **keys_of(MODEL),
)
def churn_evaluation(
    context: dg.AssetExecutionContext,
    model: pl.LazyFrame,
    features: pl.LazyFrame,
    labels: pl.LazyFrame,
) -> Described:
    """Walk-forward evaluation: each churn model on the week after its date.

    Its partitions exist once the labels do. About 440 customers a week: the intervals are wide, and
    `churn_cross_validation` is the figure to compare with others.
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
