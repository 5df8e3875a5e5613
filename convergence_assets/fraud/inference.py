"""Alerts: the issued scores that reach their champion's threshold, each with its reasons."""

import json
from math import isnan
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.models import explanation
from convergence_assets.fraud.contracts import FraudAlert
from convergence_assets.fraud.feature_views import DESCRIPTIONS, MODEL_INPUT
from convergence_assets.fraud.model import FRAUD
from resources.lake import lake_asset
from resources.lineage import using


def alerts(features: pl.DataFrame, scores: pl.DataFrame, champions: pl.DataFrame) -> pl.DataFrame:
    """FraudAlert rows: issued scores that reach their champion's threshold, with the reasons of its trees.

    Raises:
        ModelError: a score was issued by a model that is not the day's champion, or its reasons do not add up.
    """
    trees = dict(champions.select("model_version", "model").iter_rows())
    thresholds = champions.select("event_date", "model_version", threshold="alert_threshold")
    issued = scores.select("event_date", "transaction_id", "score", "model_version").join(
        thresholds, on=["event_date", "model_version"], how="left"
    )
    unknown = issued.filter(pl.col("threshold").is_null())
    if unknown.height:
        day, by = unknown.select("event_date", "model_version").row(0)
        champion = champions.filter(event_date=day)["model_version"].to_list()
        raise ModelError(
            f"{unknown.height} scores were issued by another model than the champion of their day, e.g. on {day} by "
            f"{by}, expected {champion}: materialize fraud/fraud_scores of that day again"
        )
    raised = features.join(issued.filter(pl.col("score") >= pl.col("threshold")), on=["event_date", "transaction_id"])
    parts = [pl.DataFrame(schema=schema_of(FraudAlert))]
    for (version,), rows in raised.partition_by("model_version", as_dict=True).items():
        explained = explanation.explain(trees[version], rows, nthread=2)
        reasons = explanation.top(explained)
        part = rows.with_columns(
            reasons=pl.Series([explanation.in_words(row, DESCRIPTIONS) for row in reasons]),
            contributions=pl.Series([json.dumps([_named(*reason) for reason in row]) for row in reasons]),
            base=pl.lit(explained.base),
            additivity_error=pl.Series(explained.error),
        )
        parts.append(part.select(schema_of(FraudAlert).names()))
    return pl.concat(parts).sort("event_time", "transaction_id")


def _named(feature: str, value: float, shap: float) -> dict[str, Any]:
    return {"feature": feature, "value": None if isnan(value) else value, "shap": shap}


def alert_figures(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a day's alerts: how many, the threshold, and the most suspicious one."""
    first = rows.sort("score", descending=True).row(0, named=True)
    return {
        "alerts": rows.height,
        "threshold": first["threshold"],
        "additivity_error": rows["additivity_error"].max(),
        "most_suspicious": dg.MetadataValue.md(
            f"Transaction {first['transaction_id']}, score {first['score']:.3f}:\n\n{first['reasons']}"
        ),
    }


@lake_asset(
    contract=FraudAlert,
    partitions_def=FRAUD.days,
    ins={"transaction_features": using(MODEL_INPUT, key_prefix="fraud")}
    | {n: dg.AssetIn(key_prefix="fraud") for n in ("fraud_scores", "fraud_champions")},
    describe=alert_figures,
    code_version="2",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "prediction"},
    key_prefix="fraud",
    group_name="fraud",
    owners=["team:fraud"],
)
def fraud_alerts(
    transaction_features: pl.LazyFrame, fraud_scores: pl.LazyFrame, fraud_champions: pl.LazyFrame
) -> pl.DataFrame:
    """Alerts of each day: what to look at, and why.

    Grain: transaction whose issued score reaches the threshold that was stored with its model. Reasons are exact SHAP
    values of the model's trees; they must add up to the log odds, or the day is refused.
    """
    return alerts(transaction_features.collect(), fraud_scores.collect(), fraud_champions.collect())
