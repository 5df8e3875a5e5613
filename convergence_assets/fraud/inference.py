"""Batch predictions: each day scored by the champion as of that day."""

from datetime import date

import dagster as dg
import polars as pl

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.models import boosting
from convergence_assets.fraud.arrivals import LAST_DAY
from convergence_assets.fraud.contracts import FraudScore
from convergence_assets.partitions import daily
from resources.lake import lake_asset

SCORED_DAYS = daily(date(2018, 7, 18), LAST_DAY)


def score(features: pl.DataFrame, promotions: pl.DataFrame) -> pl.DataFrame:
    """FraudScore rows: each transaction by the newest promotion of its week. Raises ModelError where there is none."""
    champions = promotions.sort("valid_from", "decided_at").drop("event_date")
    dated = features.sort("event_date").join_asof(
        champions, left_on="event_date", right_on="valid_from", strategy="backward", tolerance="6d"
    )
    unserved = dated.filter(pl.col("model").is_null())["event_date"].unique().sort()
    if unserved.len():
        raise ModelError(f"no champion on {unserved[0]}: materialize fraud/fraud_promotions of that week first")
    parts = [dated.head(0).with_columns(score=pl.lit(None, pl.Float64))]
    for (model,), rows in dated.partition_by("model", as_dict=True).items():
        scores = boosting.predict(model, rows.select(boosting.feature_names(model)), nthread=2)
        parts.append(rows.with_columns(score=pl.Series(scores, dtype=pl.Float64)))
    return pl.concat(parts).select(schema_of(FraudScore).names()).sort("event_time", "transaction_id")


@lake_asset(
    contract=FraudScore,
    partitions_def=SCORED_DAYS,
    ins={"transaction_features": dg.AssetIn(key_prefix="fraud"), "fraud_promotions": dg.AssetIn(key_prefix="fraud")},
    code_version="1",
    key_prefix="fraud",
    group_name="fraud",
    owners=["team:fraud"],
    kinds={"xgboost", "deltalake"},
    tags={"layer": "prediction"},
)
def fraud_scores(transaction_features: pl.LazyFrame, fraud_promotions: pl.LazyFrame) -> pl.DataFrame:
    """Fraud score of each transaction by the champion of its day.

    Grain: transaction. Issued once: new data or models show it as out of date, nothing rewrites it by itself.
    """
    return score(transaction_features.collect(), fraud_promotions.collect())
