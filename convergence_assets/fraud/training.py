"""Fitting the fraud model: trees, a network and a linear model, their stack or the best of them, calibrated."""

import json
from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from convergence.errors import ModelError
from convergence.models import boosting, ensemble, explanation, linear, network, scaling
from convergence.models.gated import Fitted
from convergence_assets.fraud.feature_views import MODEL_INPUT

NEWER_DAYS = 14  # of the training window: they judge the members, fit their stack and calibrate what is served

# In use until fraud_parameters finds better ones: chosen by hand on the test weeks of 2018-05-16 to 07-04.
SEED, ROUNDS = 7, 150
PARAMETERS: Mapping[str, Any] = {
    "max_depth": 5,
    "eta": 0.05,
    "min_child_weight": 5,
    "lambda": 10,
    "subsample": 0.8,
    "colsample_bytree": 0.4,
}
THINNED = 16  # the network and the linear member see every 16th genuine transaction, counted 16 times
FALSE_POSITIVES = 0.005  # share of genuine transactions that an alert's threshold lets pass
CHECKED_ROWS = 1_000  # rows on which the ONNX graph must give the trained model's scores


def in_use() -> dict[str, Any]:
    """The parameters of the trees that were chosen by hand."""
    return {**PARAMETERS, "rounds": ROUNDS}


def trees(rows: ensemble.Rows, parameters: Mapping[str, Any], *, grown_from: str | None = None) -> boosting.Trees:
    """Boosted trees on rows of the model's features, or more of those of a model; `rounds` is among the parameters."""
    others = {name: value for name, value in parameters.items() if name not in ("rounds", "seed")}
    features = pl.DataFrame(rows.values, schema=list(MODEL_INPUT)).fill_nan(None)
    weight = None if (rows.weight == 1).all() else rows.weight
    model = boosting.fit(
        features,
        pl.Series(rows.label),
        rounds=parameters["rounds"],
        params=others,
        weight=weight,
        grown_from=grown_from,
        seed=SEED,
        nthread=2,
    )
    return boosting.Trees(model, nthread=2)


def matrix(rows: pl.DataFrame) -> ensemble.Rows:
    """Labelled feature rows as models take them."""
    return ensemble.Rows(
        boosting.values_of(rows.select(MODEL_INPUT)),
        rows["is_fraud"].to_numpy(),
        rows["event_date"].to_numpy(),
        np.ones(rows.height),
    )


def fitted(rows: pl.DataFrame, parameters: Mapping[str, Any]) -> ensemble.Fitted:
    """The members, their stack and what is served, decided from labelled feature rows in time order alone."""
    return ensemble.fit(
        matrix(rows),
        {"xgboost": partial(trees, parameters=parameters), "network": _network, "linear": _linear},
        MODEL_INPUT,
        newer_days=NEWER_DAYS,
        false_positive_rate=FALSE_POSITIVES,
        repetitions=50,
        seed=SEED,
    )


def fit(rows: pl.DataFrame, parameters: Mapping[str, Any] | None) -> Fitted:
    """The model of is_fraud on labelled feature rows in time order; `parameters` of the trees, None: `in_use`.

    Raises:
        ModelError: the ONNX graph does not give the trained model's scores, or SHAP values do not add up.
    """
    parameters = parameters or in_use()
    found = fitted(rows, parameters)
    onnx, parity, sample = checked(found.served, rows)
    explaining = found.members["xgboost"]  # reasons are the trees', whatever serves
    assert isinstance(explaining, boosting.Trees)
    return Fitted(
        onnx,
        report={
            "served": found.chosen,
            "reason": found.reason,
            "comparison": found.comparison,
            "calibration": found.log_losses,
            "parity": parity,
            "parity_rows": sample.height,
            "shap": explanation.summary(explanation.explain(explaining.model, sample, nthread=2)).head(10).to_dicts(),
        },
        parameters={**parameters, "seed": SEED},
        extras={
            "model": explaining.model,
            "candidates": found.candidates,
            "alert_threshold": found.threshold,
            "training_frauds": int(rows["is_fraud"].sum()),
        },
    )


def _network(rows: ensemble.Rows) -> network.Network:
    few = rows.thinned(THINNED, SEED)
    return network.fit(few.values, few.label, few.weight, scaling.fit(few.values), newest=few.newest(7), seed=SEED)


def _linear(rows: ensemble.Rows) -> linear.Linear:
    few = rows.thinned(THINNED, SEED)
    return linear.fit(few.values, few.label, few.weight, scaling.fit(few.values))


def checked(served: ensemble.Ensemble, rows: pl.DataFrame) -> tuple[bytes, float, pl.DataFrame]:
    """A model as a graph; how far that is off, on which of the rows. Raises ModelError where it is too far."""
    sample = rows.gather_every(max(1, rows.height // CHECKED_ROWS)).select(MODEL_INPUT)
    return *ensemble.checked_onnx(served, MODEL_INPUT, boosting.values_of(sample)), sample


def parameters_as_of(found: pl.DataFrame, as_of: date) -> dict[str, Any]:
    """The newest of the FraudParameters rows that were found by a date. Raises ModelError where there are none."""
    known = found.filter(pl.col("event_date") <= as_of).sort("event_date")
    if known.is_empty():
        raise ModelError(
            f"no parameters as of {as_of}: expected a row of fraud/fraud_parameters of that date or before, found "
            f"{found['event_date'].to_list()}; materialize fraud/fraud_parameters"
        )
    return json.loads(known["parameters"][-1])


def model_card(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a model."""
    row = rows.row(0, named=True)
    report = json.loads(row["report"])
    calibration, *others = report["calibration"].items()
    strongest = report["shap"][0]["mean_abs_shap"]
    return {
        "model_version": row["model_version"],
        "served": report["served"],
        "training_rows": row["training_rows"],
        "training_frauds": row["training_frauds"],
        "alert_threshold": row["alert_threshold"],
        "parity": report["parity"],
        "size_mb": round(len(row["onnx"]) / 1e6, 2),
        "model_card": dg.MetadataValue.md(
            f"**{row['model_version']}**: {report['served']} on transactions of {row['training_first_day']} to "
            f"{row['training_last_day']}, labels known by {row['event_date']}. Trees: `{row['parameters']}`.\n\n"
            f"{report['reason']}.\n\n"
            f"| candidate | average precision, newest {NEWER_DAYS // 2} days of the window | 95 % |\n|---|---|---|\n"
            + "\n".join(
                f"| {c['candidate']} | {c['average_precision']:.4f} | {c['low']:.4f} to {c['high']:.4f} |"
                for c in report["comparison"]
            )
            + f"\n\nCalibration: {calibration[0]}, log loss {calibration[1]:.5f} on later days ("
            + ", ".join(f"{kind} {loss:.5f}" for kind, loss in others)
            + f"). Alerts from {row['alert_threshold']:.4f} on ({FALSE_POSITIVES:.1%} false positives). ONNX differs "
            f"from the trained model by at most {report['parity']:.1g} on {report['parity_rows']} rows.\n\n"
            "| feature | mean absolute SHAP value, log odds | |\n|---|---|---|\n"
            + "\n".join(
                f"| {s['feature']} | {s['mean_abs_shap']:.3f} | {'█' * round(20 * s['mean_abs_shap'] / strongest)} |"
                for s in report["shap"]
            )
        ),
    }
