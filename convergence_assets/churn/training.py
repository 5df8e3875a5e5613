"""A model per week as of its date: a stack of a linear model and boosted trees, with the leaderboard's parameters."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from convergence.errors import ModelError
from convergence.features.point_in_time import point_in_time_join
from convergence.markdown import table
from convergence.models import boosting, ensemble, explanation, metrics, splits, stacking, stored
from convergence.models.families import BOOSTED, LINEAR, START, families
from convergence_assets.churn.arrivals import LABEL_DELAY
from convergence_assets.churn.feature_views import MODEL_INPUT
from convergence_assets.churn.model_contracts import ChurnModel
from convergence_assets.partitions import weekly, window
from resources.experiments import logged
from resources.lake import Described, lake_asset
from resources.lineage import using

# The first is the earliest that has three weeks to fit on, four being lost to the delay of labels and one to the gate.
MODEL_WEEKS = weekly(date(2024, 2, 26), date(2024, 4, 15))

TRAINING_DAYS, GATE_DAYS = 84, 7  # all that is known: the replay clock has no trend, so more rows are only better
DELAY_DAYS = LABEL_DELAY.days
# Forest and network would add less than 0.001 of AUC to the stack of these two, and cost ten times the time.
MEMBERS = (LINEAR, BOOSTED)
SEED = 7
CHECKED_ROWS = 1_000  # rows on which the ONNX graph must give the trained model's scores

KEYS = {"key_prefix": "churn", "group_name": "churn_models", "owners": ["team:churn"]}
ROW = ("event_date", "customer_id")
WEEKS_BACK = -((TRAINING_DAYS + GATE_DAYS + DELAY_DAYS) // 7)
KNOWN_WEEK = -(DELAY_DAYS // 7) - 1  # the newest week whose labels are all known


def known_labels(features: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """Feature rows whose label was known at the start of `as_of`, with `churned`."""
    cut = datetime.combine(as_of, time(), UTC)
    spine = features.with_columns(known_by=pl.lit(cut, pl.Datetime("us", "UTC")))
    facts = labels.select(*ROW, "event_time", "label_time", "churned", sequence=pl.lit(0))
    joined = point_in_time_join(spine, facts, by=ROW, sequence="sequence", known_by="known_by", fact_known="label_time")
    return joined.filter(pl.col("churned").is_not_null()).sort("event_time", "customer_id")


def matrix(rows: pl.DataFrame) -> ensemble.Rows:
    """Labelled feature rows as models take them."""
    return ensemble.Rows(
        boosting.values_of(rows.select(MODEL_INPUT)),
        rows["churned"].to_numpy(),
        rows["event_date"].to_numpy(),
        np.ones(rows.height),
    )


def fit(rows: ensemble.Rows, parameters: Mapping[str, Mapping[str, float]] = START) -> stacking.Stacked:
    """The model of `churned`; `parameters` of each member, by family."""
    known = families(MODEL_INPUT, seed=SEED)
    fits = {name: known[name].given(parameters[name]) for name in MEMBERS}
    return stacking.fit(rows, fits, seed=SEED)


def train(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    as_of: date,
    parameters: Mapping[str, Mapping[str, float]] = START,
) -> dict[str, Any]:
    """The model as of a date: one row of ChurnModel. The newest GATE_DAYS of known labels are kept from the fit.

    Raises:
        ModelError: the ONNX graph does not give the trained model's scores, or SHAP values do not add up.
    """
    known = known_labels(features, labels, as_of)
    rows = splits.training_rows(known, as_of, days=TRAINING_DAYS, delay=DELAY_DAYS + GATE_DAYS)
    fitted = fit(matrix(rows), parameters)
    sample = rows.gather_every(max(1, rows.height // CHECKED_ROWS)).select(MODEL_INPUT)
    onnx, parity = ensemble.checked_onnx(fitted.served, MODEL_INPUT, boosting.values_of(sample))
    sha256 = stored.digest(onnx)
    explaining = fitted.served.members[BOOSTED]  # reasons are the trees'
    assert isinstance(explaining, boosting.Trees)
    return {
        "event_date": as_of,
        "model_version": f"{as_of}.{sha256[:8]}",
        "onnx": onnx,
        "sha256": sha256,
        "model": explaining.model,
        "training_first_day": rows["event_date"].min(),
        "training_last_day": rows["event_date"].max(),
        "training_rows": rows.height,
        "training_churned": int(rows["churned"].sum()),
        "parameters": json.dumps({name: dict(parameters[name]) for name in MEMBERS} | {"seed": SEED}),
        "report": json.dumps(
            {
                "weights": dict(zip(fitted.served.members, fitted.served.weights.round(4).tolist(), strict=True)),
                "calibration": fitted.log_losses,
                "roc_auc": metrics.roc_auc(rows["churned"], fitted.scores),
                "brier": metrics.brier(rows["churned"], fitted.scores),
                "parity": parity,
                "parity_rows": sample.height,
                "shap": explanation.summary(explanation.explain(explaining.model, sample)).head(10).to_dicts(),
            }
        ),
    }


def parameters_as_of(found: pl.DataFrame, as_of: date) -> dict[str, dict[str, float]]:
    """Each member's parameters of the newest leaderboard by a date. Raises ModelError where one has none."""
    ours = found.filter(pl.col("event_date") <= as_of, pl.col("engine") == "convergence")
    newest = ours.filter(pl.col("event_date") == pl.col("event_date").max())
    there = dict(newest.select("family", "parameters").iter_rows())
    if missing := [name for name in MEMBERS if name not in there]:
        raise ModelError(
            f"no parameters of {missing} as of {as_of}: expected a row of churn/churn_leaderboard of that date or "
            f"before for each of {list(MEMBERS)}, found {sorted(there)}; materialize churn/churn_leaderboard, with a "
            "larger budget if it was cut"
        )
    return {name: json.loads(there[name]) for name in MEMBERS}


def model_card(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a model."""
    row = rows.row(0, named=True)
    report = json.loads(row["report"])
    kind, loss = next(iter(report["calibration"].items()))
    return {
        "model_version": row["model_version"],
        "training_rows": row["training_rows"],
        "training_churned": row["training_churned"],
        "held_out_roc_auc": report["roc_auc"],
        "parity": report["parity"],
        "size_mb": round(len(row["onnx"]) / 1e6, 2),
        "model_card": dg.MetadataValue.md(
            f"**{row['model_version']}** on customers of {row['training_first_day']} to {row['training_last_day']}, "
            f"labels known by {row['event_date']}. Weights of the stack: `{report['weights']}`; parameters "
            f"`{row['parameters']}`. Calibration: {kind}, log loss {loss:.4f} on rows held out. ROC AUC "
            f"{report['roc_auc']:.4f} and Brier score {report['brier']:.4f} on rows that no member had seen. ONNX "
            f"differs from the trained model by at most {report['parity']:.1g} on {report['parity_rows']} rows.\n\n"
            + table(["feature", "mean absolute SHAP value, log odds"], [list(s.values()) for s in report["shap"]])
        ),
    }


def weeks(context: dg.AssetExecutionContext) -> list[date]:
    """The as-of dates of a run."""
    return [date.fromisoformat(key) for key in context.partition_keys]


def feature_ins(first: int, last: int, **more: dg.AssetIn) -> dict[str, dg.AssetIn]:
    """Features and labels of the weeks from `first` to `last` back, and `more`."""
    daily = window(first, last)
    return {
        name: using(used, key_prefix="churn", partition_mapping=daily)
        for name, used in (("customer_features", MODEL_INPUT), ("churn_labels", ("churned", "label_time")))
    } | more


@lake_asset(
    contract=ChurnModel,
    partitions_def=MODEL_WEEKS,
    ins=feature_ins(
        WEEKS_BACK,
        KNOWN_WEEK,
        churn_leaderboard=dg.AssetIn(key_prefix="churn", partition_mapping=dg.AllPartitionMapping()),
    ),
    describe=model_card,
    required_resource_keys={"experiments"},
    code_version="1",
    kinds={"xgboost", "mlflow"},
    tags={"layer": "model"},
    **KEYS,
)
def churn_model(
    context: dg.AssetExecutionContext,
    customer_features: pl.LazyFrame,
    churn_labels: pl.LazyFrame,
    churn_leaderboard: pl.LazyFrame,
) -> Described:
    """Churn model of each week, as of its date.

    Trained on labels known at the start of the date; the newest week of them is kept for the gate. The row is the
    model: an ONNX graph with its signature, opened by its hash. Never rebuilt by itself.
    """
    features, known, found = customer_features.collect(), churn_labels.collect(), churn_leaderboard.collect()
    models = [train(features, known, as_of, parameters_as_of(found, as_of)) for as_of in weeks(context)]
    runs = logged(
        context,
        models,
        parameters=lambda row: json.loads(row["parameters"]),
        metrics=lambda row: {k: row[k] for k in ("training_rows", "training_churned")},
        files=lambda row: {"model.json": row["model"], "report.json": row["report"]},
    )
    return Described(pl.DataFrame(models), runs)
