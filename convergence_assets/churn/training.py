"""Fitting the churn model: a stack of a linear model and boosted trees, with the leaderboard's parameters."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from convergence.errors import ModelError
from convergence.markdown import table
from convergence.models import boosting, ensemble, explanation, metrics, stacking
from convergence.models.families import BOOSTED, LINEAR, START, families
from convergence.models.gated import Fitted
from convergence_assets.churn.feature_views import MODEL_INPUT

# Forest and network would add less than 0.001 of AUC to the stack of these two, and cost ten times the time.
MEMBERS = (LINEAR, BOOSTED)
SEED = 7
CHECKED_ROWS = 1_000  # rows on which the ONNX graph must give the trained model's scores


def matrix(rows: pl.DataFrame) -> ensemble.Rows:
    """Labelled feature rows as models take them."""
    return ensemble.Rows(
        boosting.values_of(rows.select(MODEL_INPUT)),
        rows["churned"].to_numpy(),
        rows["event_date"].to_numpy(),
        np.ones(rows.height),
    )


def stacked(rows: ensemble.Rows, parameters: Mapping[str, Mapping[str, float]] = START) -> stacking.Stacked:
    """The model of `churned`; `parameters` of each member, by family."""
    known = families(MODEL_INPUT, seed=SEED)
    fits = {name: known[name].given(parameters[name]) for name in MEMBERS}
    return stacking.fit(rows, fits, seed=SEED)


def fit(rows: pl.DataFrame, parameters: Mapping[str, Mapping[str, float]] | None) -> Fitted:
    """The model of `churned` on labelled feature rows; `parameters` of each member, by family; None: the families' own.

    Raises:
        ModelError: the ONNX graph does not give the trained model's scores, or SHAP values do not add up.
    """
    parameters = parameters or START
    found = stacked(matrix(rows), parameters)
    sample = rows.gather_every(max(1, rows.height // CHECKED_ROWS)).select(MODEL_INPUT)
    onnx, parity = ensemble.checked_onnx(found.served, MODEL_INPUT, boosting.values_of(sample))
    explaining = found.served.members[BOOSTED]  # reasons are the trees'
    assert isinstance(explaining, boosting.Trees)
    return Fitted(
        onnx,
        report={
            "weights": dict(zip(found.served.members, found.served.weights.round(4).tolist(), strict=True)),
            "calibration": found.log_losses,
            "roc_auc": metrics.roc_auc(rows["churned"], found.scores),
            "brier": metrics.brier(rows["churned"], found.scores),
            "parity": parity,
            "parity_rows": sample.height,
            "shap": explanation.summary(explanation.explain(explaining.model, sample)).head(10).to_dicts(),
        },
        parameters={name: dict(parameters[name]) for name in MEMBERS} | {"seed": SEED},
        extras={"model": explaining.model, "training_churned": int(rows["churned"].sum())},
    )


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
