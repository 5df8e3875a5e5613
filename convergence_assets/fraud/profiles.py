"""Profiles of what the champion sees and says, day by day, and of what it said before it was let in.

Profiles are taken once a day and only added up afterwards, so that drift over any window costs no second look at rows.
Scores of two models are never compared with each other: each is calibrated anew, which alone moves the many low scores
far enough to look like drift.
"""

from collections.abc import Sequence
from datetime import date, timedelta

import dagster as dg
import polars as pl

from convergence.lake.contracts import Contract, schema_of
from convergence.monitoring.profiles import profile_rows
from convergence_assets.fraud.arrivals import DAILY
from convergence_assets.fraud.feature_views import MODEL_INPUT
from convergence_assets.fraud.gate import scored
from convergence_assets.fraud.inference import SCORED_DAYS
from convergence_assets.fraud.monitoring_contracts import FeatureProfile, ScoreProfile, ScoreReference
from convergence_assets.fraud.training import DELAY_DAYS, GATE_DAYS, MODEL_WEEKS
from convergence_assets.partitions import window
from resources.lake import lake_asset
from resources.lineage import using

MONITORING = {
    "key_prefix": "fraud",
    "group_name": "fraud_monitoring",
    "owners": ["team:fraud"],
    "tags": {"layer": "monitoring"},
}


def gate_days(as_of: date) -> tuple[date, date]:
    """First and last day of the newest labelled week before a date, which the fit of its model has not seen."""
    return as_of - timedelta(days=DELAY_DAYS + GATE_DAYS), as_of - timedelta(days=DELAY_DAYS + 1)


def feature_profile_rows(features: pl.DataFrame) -> pl.DataFrame:
    """FeatureProfile rows: one for each day of the feature rows and input of the model."""
    parts = features.partition_by("event_date", as_dict=True)
    return shaped(FeatureProfile, [profile_rows(rows, MODEL_INPUT, event_date=day) for (day,), rows in parts.items()])


def score_profile_rows(scores: pl.DataFrame) -> pl.DataFrame:
    """ScoreProfile rows: one for each day and model that issued scores."""
    keys = ("event_date", "model_version", "model_as_of")
    parts = scores.partition_by(keys, as_dict=True)
    return shaped(
        ScoreProfile, [profile_rows(rows, ["score"], **dict(zip(keys, k, strict=True))) for k, rows in parts.items()]
    )


def score_reference_rows(promotions: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """ScoreReference rows: for each promotion, the scores that its champion gives the week of its gate."""
    parts = []
    for champion in promotions.sort("event_date").iter_rows(named=True):
        rows = scored(champion, features.filter(pl.col("event_date").is_between(*gate_days(champion["event_date"]))))
        about = {name: champion[name] for name in ("event_date", "model_version", "model_as_of")}
        parts.append(profile_rows(rows, ["score"], **about))
    return shaped(ScoreReference, parts)


def shaped(contract: Contract, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The parts as one frame with the contract's columns in their order."""
    schema = schema_of(contract)
    return pl.concat([part.select(schema.names()).cast(schema) for part in parts]) if parts else schema.to_frame()


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
    return feature_profile_rows(transaction_features.select("event_date", *MODEL_INPUT).collect())


@lake_asset(
    contract=ScoreProfile,
    partitions_def=SCORED_DAYS,
    ins={"fraud_scores": dg.AssetIn(key_prefix="fraud")},
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
    return score_reference_rows(fraud_promotions.collect(), features)
