"""Batch predictions: each day scored by the champion as of that day, and its alerts with their reasons."""

import json
from datetime import date, timedelta
from math import isnan
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.models import explanation, promotions, release_log, stored
from convergence.versions.audit import AuditLog
from convergence_assets.fraud.arrivals import LAST_DAY
from convergence_assets.fraud.contracts import FraudAlert, FraudChampion, FraudScore
from convergence_assets.fraud.feature_views import DESCRIPTIONS, MODEL_INPUT
from convergence_assets.fraud.release import RELEASABLE
from convergence_assets.partitions import daily
from resources.lake import lake_asset
from resources.lineage import using

SCORED_DAYS = daily(date(2018, 7, 18), LAST_DAY)
_DECISION_LASTS = timedelta(days=6)  # the gate decides every week

_FEATURES = using(MODEL_INPUT, key_prefix="fraud")
_FRAUD = {"key_prefix": "fraud", "group_name": "fraud", "owners": ["team:fraud"]}


def of_day(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a day's champion."""
    row = rows.row(0, named=True)
    by = "the gate" if row["release"] is None else f"release {row['release']}"
    return {"champion": row["model_version"], "decided_by": by, "alert_threshold": row["alert_threshold"]}


@lake_asset(
    contract=FraudChampion,
    partitions_def=SCORED_DAYS,
    ins={"fraud_promotions": dg.AssetIn(key_prefix="fraud")},
    describe=of_day,
    metadata={"reads_releases": True},  # for `convergence reproduce`
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "release"},
    **_FRAUD,
)
def fraud_champions(context: dg.AssetExecutionContext, fraud_promotions: pl.LazyFrame) -> pl.DataFrame:
    """Which model scores each day: the gate's choice, or what people released since.

    Grain: day. Settled once: a promotion or rollback counts from the first day that has no champion yet, so that made
    again, a day gets the same one.
    """
    released = release_log.released(AuditLog(context.resources.lake.lake.store), RELEASABLE.name)
    days = [date.fromisoformat(key) for key in context.partition_keys]
    columns = [name for name in schema_of(FraudChampion).names() if name != "event_date"]
    return promotions.champions(fraud_promotions.collect(), released, days, columns=columns, within=_DECISION_LASTS)


def score(features: pl.DataFrame, champions: pl.DataFrame) -> pl.DataFrame:
    """FraudScore rows: each transaction by the champion of its day. Raises ModelError for a day without one."""
    served = champions.select("sha256", "onnx").unique("sha256")
    # Models stay out of the rows: each would be there as often as there are transactions.
    dated = features.join(
        champions.select("event_date", "model_version", "model_as_of", "sha256"), on="event_date", how="left"
    )
    unserved = dated.filter(pl.col("sha256").is_null())["event_date"].unique().sort()
    if unserved.len():
        raise ModelError(f"no champion on {unserved[0]}: materialize fraud/fraud_champions of that day first")
    parts = [dated.head(0).with_columns(score=pl.lit(None, pl.Float64))]
    for sha256, onnx in served.iter_rows():
        rows = dated.filter(sha256=sha256)
        parts.append(rows.with_columns(score=stored.load(onnx, sha256=sha256).score_rows(rows)))
    return pl.concat(parts).select(schema_of(FraudScore).names()).sort("event_time", "transaction_id")


@lake_asset(
    contract=FraudScore,
    partitions_def=SCORED_DAYS,
    ins={"transaction_features": _FEATURES, "fraud_champions": dg.AssetIn(key_prefix="fraud")},
    code_version="3",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "prediction"},
    **_FRAUD,
)
def fraud_scores(transaction_features: pl.LazyFrame, fraud_champions: pl.LazyFrame) -> pl.DataFrame:
    """Fraud score of each transaction by the champion of its day.

    Grain: transaction. Issued once: new data or models show it as out of date, nothing rewrites it by itself.
    """
    return score(transaction_features.collect(), fraud_champions.collect())


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
    partitions_def=SCORED_DAYS,
    ins={"transaction_features": _FEATURES}
    | {n: dg.AssetIn(key_prefix="fraud") for n in ("fraud_scores", "fraud_champions")},
    describe=alert_figures,
    code_version="2",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "prediction"},
    **_FRAUD,
)
def fraud_alerts(
    transaction_features: pl.LazyFrame, fraud_scores: pl.LazyFrame, fraud_champions: pl.LazyFrame
) -> pl.DataFrame:
    """Alerts of each day: what to look at, and why.

    Grain: transaction whose issued score reaches the threshold that was stored with its model. Reasons are exact SHAP
    values of the model's trees; they must add up to the log odds, or the day is refused.
    """
    return alerts(transaction_features.collect(), fraud_scores.collect(), fraud_champions.collect())
