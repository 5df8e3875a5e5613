"""What watches the champion: profiles of what it sees and says, drift of both, and Evidently's page of each week."""

from datetime import date

import dagster as dg
import polars as pl

from asset_checks.drift import drift_check
from convergence.monitoring.contracts import Drift, DriftReport, FeatureProfile, ScoreProfile, ScoreReference
from convergence.monitoring.watch import (
    Fit,
    drift_rows,
    feature_profile_rows,
    score_profile_rows,
    score_reference_rows,
    worst,
)
from convergence.monitoring.weekly_pages import weekly_pages
from convergence_assets.churn.arrivals import DAILY
from convergence_assets.churn.feature_views import MODEL_INPUT
from convergence_assets.churn.inference import SCORED_DAYS
from convergence_assets.churn.training import DELAY_DAYS, GATE_DAYS, KNOWN_WEEK, MODEL_WEEKS, TRAINING_DAYS
from convergence_assets.partitions import weekly, window
from resources.lake import lake_asset
from resources.lineage import using
from sensors.drift import Retraining

FIT = Fit(TRAINING_DAYS, GATE_DAYS, DELAY_DAYS, oldest_champion_days=56)
REPORT_WEEKS = weekly(date(2024, 3, 4), date(2024, 4, 15))  # each shows the snapshot of the week before it

_MONITORING = {
    "key_prefix": "churn",
    "group_name": "churn_monitoring",
    "owners": ["team:churn"],
    "kinds": {"polars", "deltalake"},
    "tags": {"layer": "monitoring"},
    "code_version": "1",
}


@lake_asset(contract=FeatureProfile, partitions_def=DAILY,
            ins={"customer_features": using(MODEL_INPUT, key_prefix="churn")}, **_MONITORING)  # fmt: skip
def customer_profiles(customer_features: pl.LazyFrame) -> pl.DataFrame:
    """How each input of the churn model is distributed, day by day.

    Grain: feature and day. Profiles of days add up to the profile of any window, exactly.
    """
    return feature_profile_rows(customer_features.select("event_date", *MODEL_INPUT).collect(), MODEL_INPUT)


@lake_asset(contract=ScoreProfile, partitions_def=SCORED_DAYS,
            ins={"churn_scores": using(["score"], key_prefix="churn")},
            **_MONITORING)  # fmt: skip
def churn_score_profiles(churn_scores: pl.LazyFrame) -> pl.DataFrame:
    """How the issued churn scores are distributed, day by day.

    Grain: model and day. Says too which champion scored the day.
    """
    return score_profile_rows(churn_scores.select("event_date", "model_version", "model_as_of", "score").collect())


@lake_asset(
    contract=ScoreReference,
    partitions_def=MODEL_WEEKS,
    ins={
        "churn_promotions": using(["onnx"], key_prefix="churn"),
        "customer_features": using(MODEL_INPUT, key_prefix="churn", partition_mapping=window(KNOWN_WEEK, KNOWN_WEEK)),
    },
    **_MONITORING,
)
def churn_score_references(churn_promotions: pl.LazyFrame, customer_features: pl.LazyFrame) -> pl.DataFrame:
    """How each week's champion scores customers that its fit has not seen.

    Grain: week. What issued scores are held against: the champion's own scores of the newest labelled week.
    """
    features = customer_features.select("event_date", *MODEL_INPUT).collect()
    return score_reference_rows(churn_promotions.collect(), features, FIT)


@lake_asset(
    contract=Drift,
    partitions_def=SCORED_DAYS,
    ins={
        "customer_profiles": dg.AssetIn(key_prefix="churn", partition_mapping=window(-FIT.reach_back)),
        "churn_score_profiles": dg.AssetIn(key_prefix="churn", partition_mapping=window(-6)),
        "churn_score_references": dg.AssetIn(key_prefix="churn", partition_mapping=window(-FIT.oldest_champion_days)),
    },
    describe=worst,
    **_MONITORING,
)
def churn_drift(
    context: dg.AssetExecutionContext,
    customer_profiles: pl.LazyFrame,
    churn_score_profiles: pl.LazyFrame,
    churn_score_references: pl.LazyFrame,
) -> pl.DataFrame:
    """How far customers and scores are from what the churn champion was made for.

    Grain: column and day, over the seven days that end on it: the 63 customers of a day alone say too little. PSI and
    KS distance with limits; who has drifted is retrained by the drift sensor.
    """
    days = [date.fromisoformat(key) for key in context.partition_keys]
    profiles, references = customer_profiles.collect(), churn_score_references.collect()
    return drift_rows(profiles, churn_score_profiles.collect(), references, days, FIT, lengths=(7,))


def _described(rows: pl.DataFrame) -> dict[str, object]:
    row = rows.row(0, named=True)
    return {"report": dg.MetadataValue.path(row["page"]), "drifted_columns": row["drifted_columns"]}


@lake_asset(
    contract=DriftReport,
    partitions_def=REPORT_WEEKS,
    ins={
        "customer_features": using(
            MODEL_INPUT, key_prefix="churn", partition_mapping=window(-(FIT.reach_back // 7 + 1), -1)
        ),
        "churn_score_profiles": dg.AssetIn(key_prefix="churn", partition_mapping=window(-1, -1)),
    },
    describe=_described,
    required_resource_keys={"reports"},
    **_MONITORING | {"kinds": {"report", "deltalake"}, "tags": {"layer": "operations"}},
)
def churn_drift_report(
    context: dg.AssetExecutionContext, customer_features: pl.LazyFrame, churn_score_profiles: pl.LazyFrame
) -> pl.DataFrame:
    """A page by Evidently: a week's customers beside those that its champion knew.

    Grain: week, named by the day after it. It decides nothing: the verdicts are in churn/churn_drift.
    """
    weeks = [date.fromisoformat(key) for key in context.partition_keys]
    inputs = customer_features.select("event_date", *MODEL_INPUT)
    return weekly_pages(inputs, churn_score_profiles.collect(), weeks, FIT, context.resources.reports.of("churn/drift"))


drift_alarm = drift_check(
    churn_drift,
    name="drift",
    columns=("window_days", "feature", "verdict", "psi", "ks", "psi_limit", "ks_limit", "note"),
    next_step="Look at churn/churn_drift_report of the week; mend the source if it broke, else the sensor retrains.",
)

RETRAINING = Retraining(
    model="churn/churn_model",
    verdicts=(("churn/churn_drift", "drift"),),
    assets=(dg.AssetKey(["churn", "churn_model"]), dg.AssetKey(["churn", "churn_promotions"])),
    partitions_def=MODEL_WEEKS,
)
