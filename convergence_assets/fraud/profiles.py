"""Profiles of what the champion sees and says, day by day, and of what it said before it was let in."""

import dagster as dg
import polars as pl

from convergence.monitoring.contracts import FeatureProfile, ScoreProfile, ScoreReference
from convergence.monitoring.watch import Fit, feature_profile_rows, score_profile_rows, score_reference_rows
from convergence_assets.fraud.arrivals import DAILY
from convergence_assets.fraud.feature_views import MODEL_INPUT
from convergence_assets.fraud.inference import SCORED_DAYS
from convergence_assets.fraud.training import DELAY_DAYS, GATE_DAYS, MODEL_WEEKS, TRAINING_DAYS
from convergence_assets.partitions import window
from resources.lake import lake_asset
from resources.lineage import using

MONITORING = {
    "key_prefix": "fraud",
    "group_name": "fraud_monitoring",
    "owners": ["team:fraud"],
    "tags": {"layer": "monitoring"},
}


FIT = Fit(TRAINING_DAYS, GATE_DAYS, DELAY_DAYS, oldest_champion_days=42)


@lake_asset(
    contract=FeatureProfile,
    partitions_def=DAILY,
    ins={"transaction_features": using(MODEL_INPUT, key_prefix="fraud")},
    code_version="1",
    kinds={"polars", "deltalake"},
    **MONITORING,
)
def feature_profiles(transaction_features: pl.LazyFrame) -> pl.DataFrame:
    """How each input of the model is distributed, day by day.

    Grain: feature and day. Profiles of days add up to the profile of any window, exactly; see
    `convergence/monitoring/profiles.py`.
    """
    return feature_profile_rows(transaction_features.select("event_date", *MODEL_INPUT).collect(), MODEL_INPUT)


@lake_asset(
    contract=ScoreProfile,
    partitions_def=SCORED_DAYS,
    ins={"fraud_scores": using(("score",), key_prefix="fraud")},
    code_version="1",
    kinds={"polars", "deltalake"},
    **MONITORING,
)
def score_profiles(fraud_scores: pl.LazyFrame) -> pl.DataFrame:
    """How the issued scores are distributed, day by day.

    Grain: model and day. Says too which champion scored the day.
    """
    return score_profile_rows(fraud_scores.select("event_date", "model_version", "model_as_of", "score").collect())


@lake_asset(
    contract=ScoreReference,
    partitions_def=MODEL_WEEKS,
    ins={
        "fraud_promotions": dg.AssetIn(key_prefix="fraud"),
        "transaction_features": using(MODEL_INPUT, key_prefix="fraud", partition_mapping=window(-2, -2)),
    },
    code_version="1",
    kinds={"polars", "deltalake"},
    **MONITORING,
)
def score_references(fraud_promotions: pl.LazyFrame, transaction_features: pl.LazyFrame) -> pl.DataFrame:
    """How each week's champion scores rows that its fit has not seen.

    Grain: week. What issued scores are held against: the champion's own scores of the newest labelled week.
    """
    features = transaction_features.select("event_date", *MODEL_INPUT).collect()
    return score_reference_rows(fraud_promotions.collect(), features, FIT)
