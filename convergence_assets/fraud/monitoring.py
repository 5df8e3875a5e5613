"""What watches the champion: are inputs and scores still what it was made for, and are its scores still as good.

Told from the profiles of `profiles.py` alone: a day without scores is not judged, and waits until they are issued.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import dagster as dg
import polars as pl

from asset_checks.drift import drift_check
from convergence.errors import ConvergenceError
from convergence.lake.contracts import schema_of
from convergence.models import metrics
from convergence.monitoring.contracts import Drift
from convergence.monitoring.performance import judge_scores
from convergence.monitoring.watch import drift_rows, worst
from convergence_assets.fraud.inference import SCORED_DAYS
from convergence_assets.fraud.monitoring_contracts import FraudScorePerformance
from convergence_assets.fraud.profiles import FIT, MONITORING
from convergence_assets.fraud.training import DELAY_DAYS, MODEL_WEEKS
from convergence_assets.partitions import weekly, window
from resources.lake import lake_asset
from resources.lineage import using
from sensors.drift import Retraining

JUDGED_WEEKS = weekly(date(2018, 8, 1), date(2018, 8, 29))  # as-of dates: the week that ended 8 days before is judged
PERFORMANCE_LIMIT = 0.05  # average precision
FIXED_BY_THE_DAY = frozenset({"is_weekend"})  # one day says nothing about them: only the week is compared


def performance_row(
    scores: pl.DataFrame, labels: pl.DataFrame, promotions: pl.DataFrame, as_of: date
) -> dict[str, Any]:
    """One FraudScorePerformance row: the scores of the week whose labels are all known since the start of `as_of`.

    Raises ConvergenceError where the gate has never measured a model that issued scores.
    """
    first, last = as_of - timedelta(days=DELAY_DAYS + 7), as_of - timedelta(days=DELAY_DAYS + 1)
    cut = datetime.combine(as_of, time(), UTC)
    known = labels.filter(pl.col("label_time") <= cut).select("event_date", "transaction_id", "customer_id", "is_fraud")
    rows = scores.filter(pl.col("event_date").is_between(first, last)).join(
        known, on=["event_date", "transaction_id"], maintain_order="left"
    )
    measured = dict(promotions.select("challenger_version", "gate_average_precision").iter_rows())
    issued = rows["model_version"].value_counts().rows()
    unknown = ", ".join(sorted(version for version, _ in issued if version not in measured))
    if unknown or not issued:
        raise ConvergenceError(
            f"scores of {first} to {last}: no baseline, because the gate did not measure {unknown or 'any model'}; "
            "materialize fraud/fraud_promotions and fraud/fraud_scores of that week"
        )
    baseline = sum(measured[version] * number for version, number in issued) / rows.height
    judged = judge_scores(rows, baseline, limit=PERFORMANCE_LIMIT)
    return {
        "event_date": as_of,
        "first_day": first,
        "last_day": last,
        "rows": rows.height,
        "frauds": int(rows["is_fraud"].sum()),
        "base_rate": metrics.base_rate_average_precision(rows["is_fraud"]),
        "feature": "average_precision",
        "average_precision": judged.average_precision,
        "average_precision_low": judged.low,
        "average_precision_high": judged.high,
        "card_precision_100": metrics.card_precision_at_k(rows),
        "baseline": judged.baseline,
        "limit": judged.limit,
        "effect": judged.effect,
        "verdict": judged.verdict,
        "note": judged.note,
    }


def figures(rows: pl.DataFrame) -> dict[str, Any]:
    """Every number of a judged week: Dagster plots them over the weeks."""
    return {k: str(v) if isinstance(v, date) else v for k, v in rows.row(0, named=True).items() if k != "event_date"}


@lake_asset(
    contract=Drift,
    partitions_def=SCORED_DAYS,
    ins={
        "feature_profiles": dg.AssetIn(key_prefix="fraud", partition_mapping=window(-FIT.reach_back)),
        "score_profiles": dg.AssetIn(key_prefix="fraud", partition_mapping=window(-6)),
        "score_references": dg.AssetIn(key_prefix="fraud", partition_mapping=window(-FIT.oldest_champion_days)),
    },
    describe=worst,
    code_version="1",
    kinds={"polars", "deltalake"},
    **MONITORING,
)
def drift(
    context: dg.AssetExecutionContext,
    feature_profiles: pl.LazyFrame,
    score_profiles: pl.LazyFrame,
    score_references: pl.LazyFrame,
) -> pl.DataFrame:
    """How far inputs and scores are from what the champion was made for.

    Grain: column, day, and window of one or seven days that ends on the day. PSI and KS distance with limits; the
    reference is what the champion of the day was fitted on, and its own scores before it served. Who has drifted is
    retrained by the drift sensor.
    """
    days = [date.fromisoformat(key) for key in context.partition_keys]
    return drift_rows(
        feature_profiles.collect(),
        score_profiles.collect(),
        score_references.collect(),
        days,
        FIT,
        fixed_by_the_day=FIXED_BY_THE_DAY,
    )


@lake_asset(
    contract=FraudScorePerformance,
    partitions_def=JUDGED_WEEKS,
    ins={
        "fraud_scores": dg.AssetIn(key_prefix="fraud", partition_mapping=window(-2, -2)),
        "labels": using(("is_fraud", "label_time"), key_prefix="fraud", partition_mapping=window(-2, -2)),
        "fraud_promotions": dg.AssetIn(key_prefix="fraud", partition_mapping=window(-26, -2)),
    },
    describe=figures,
    metadata={"key_metric": "average_precision"},
    code_version="1",
    kinds={"scikitlearn", "deltalake"},
    **MONITORING,
)
def score_performance(
    context: dg.AssetExecutionContext, fraud_scores: pl.LazyFrame, labels: pl.LazyFrame, fraud_promotions: pl.LazyFrame
) -> pl.DataFrame:
    """How good the issued scores were, once their labels are known.

    Grain: week, named by the day on which its last label was known. The baseline is what the gate measured of the
    champion before it served; a loss above the limit that is no chance calls for retraining.
    """
    scores = fraud_scores.select("event_date", "transaction_id", "score", "model_version").collect()
    known = labels.select("event_date", "transaction_id", "customer_id", "label_time", "is_fraud").collect()
    promotions = fraud_promotions.select("challenger_version", "gate_average_precision").collect()
    weeks = [date.fromisoformat(key) for key in context.partition_keys]
    return pl.DataFrame(
        [performance_row(scores, known, promotions, week) for week in weeks], schema=schema_of(FraudScorePerformance)
    )


drift_alarm = drift_check(
    drift,
    name="drift",
    columns=("window_days", "feature", "verdict", "psi", "ks", "psi_limit", "ks_limit", "note"),
    next_step="Look at fraud/drift_report of the week; mend the source if it broke, else the drift sensor retrains.",
)
performance_alarm = drift_check(
    score_performance,
    name="performance",
    columns=("feature", "verdict", "average_precision", "baseline", "limit", "note"),
    next_step="Look at fraud/drift for the inputs that moved; the drift sensor asks for a retraining.",
)

RETRAINING = Retraining(
    model="fraud/fraud_model",
    verdicts=(("fraud/drift", "drift"), ("fraud/score_performance", "performance")),
    assets=(dg.AssetKey(["fraud", "fraud_model"]), dg.AssetKey(["fraud", "fraud_promotions"])),
    partitions_def=MODEL_WEEKS,
)
