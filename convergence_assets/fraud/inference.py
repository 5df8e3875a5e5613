"""Batch predictions: each day scored by the champion as of that day, and its alerts with their reasons."""

import json
from datetime import date
from math import isnan
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.models import explanation, stored
from convergence_assets.fraud.arrivals import LAST_DAY
from convergence_assets.fraud.contracts import FraudAlert, FraudScore
from convergence_assets.fraud.feature_views import DESCRIPTIONS
from convergence_assets.partitions import daily
from resources.lake import lake_asset

SCORED_DAYS = daily(date(2018, 7, 18), LAST_DAY)

_FRAUD = {"key_prefix": "fraud", "group_name": "fraud", "owners": ["team:fraud"]}


def score(features: pl.DataFrame, promotions: pl.DataFrame) -> pl.DataFrame:
    """FraudScore rows: each transaction by the newest promotion of its week. Raises ModelError where there is none."""
    served = dict(promotions.select("sha256", "onnx").iter_rows())
    # Models stay out of the rows: each would be there as often as there are transactions.
    champions = promotions.sort("valid_from", "decided_at").select(
        "valid_from", "model_version", "model_as_of", "sha256"
    )
    dated = features.sort("event_date").join_asof(
        champions, left_on="event_date", right_on="valid_from", strategy="backward", tolerance="6d"
    )
    unserved = dated.filter(pl.col("sha256").is_null())["event_date"].unique().sort()
    if unserved.len():
        raise ModelError(f"no champion on {unserved[0]}: materialize fraud/fraud_promotions of that week first")
    parts = [dated.head(0).with_columns(score=pl.lit(None, pl.Float64))]
    for (sha256,), rows in dated.partition_by("sha256", as_dict=True).items():
        parts.append(rows.with_columns(score=stored.load(served[sha256], sha256=sha256).score_rows(rows)))
    return pl.concat(parts).select(schema_of(FraudScore).names()).sort("event_time", "transaction_id")


@lake_asset(
    contract=FraudScore,
    partitions_def=SCORED_DAYS,
    ins={"transaction_features": dg.AssetIn(key_prefix="fraud"), "fraud_promotions": dg.AssetIn(key_prefix="fraud")},
    code_version="2",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "prediction"},
    **_FRAUD,
)
def fraud_scores(transaction_features: pl.LazyFrame, fraud_promotions: pl.LazyFrame) -> pl.DataFrame:
    """Fraud score of each transaction by the champion of its day.

    Grain: transaction. Issued once: new data or models show it as out of date, nothing rewrites it by itself.
    """
    return score(transaction_features.collect(), fraud_promotions.collect())


def alerts(features: pl.DataFrame, scores: pl.DataFrame, promotions: pl.DataFrame) -> pl.DataFrame:
    """FraudAlert rows: issued scores that reach their champion's threshold, with the reasons of its trees.

    Raises:
        ModelError: a score was issued by a model that is not among the promotions, or its reasons do not add up.
    """
    trees = dict(promotions.select("model_version", "model").iter_rows())
    champions = promotions.unique("model_version").select("model_version", threshold="alert_threshold")
    issued = scores.select("event_date", "transaction_id", "score", "model_version").join(
        champions, on="model_version", how="left"
    )
    unknown = issued.filter(pl.col("threshold").is_null())
    if unknown.height:
        raise ModelError(
            f"{unknown.height} scores of {unknown['event_date'].min()} were issued by "
            f"{unknown['model_version'][0]}, expected one of {sorted(champions['model_version'])}: materialize "
            "fraud/fraud_scores of that day again"
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
    partitions_def=SCORED_DAYS,
    ins={n: dg.AssetIn(key_prefix="fraud") for n in ("transaction_features", "fraud_scores", "fraud_promotions")},
    describe=alert_figures,
    code_version="1",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "prediction"},
    **_FRAUD,
)
def fraud_alerts(
    transaction_features: pl.LazyFrame, fraud_scores: pl.LazyFrame, fraud_promotions: pl.LazyFrame
) -> pl.DataFrame:
    """Alerts of each day: what to look at, and why.

    Grain: transaction whose issued score reaches the threshold that was stored with its model. Reasons are exact SHAP
    values of the model's trees; they must add up to the log odds, or the day is refused.
    """
    return alerts(transaction_features.collect(), fraud_scores.collect(), fraud_promotions.collect())
