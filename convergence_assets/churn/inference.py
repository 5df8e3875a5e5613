"""Batch predictions: each day's customers scored by the champion as of that day."""

from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import ModelError
from convergence.lake.contracts import schema_of
from convergence.models import promotions, release_log, stored
from convergence.versions.audit import AuditLog
from convergence_assets.churn.arrivals import LAST_DAY
from convergence_assets.churn.feature_views import MODEL_INPUT
from convergence_assets.churn.model_contracts import ChurnChampion, ChurnScore
from convergence_assets.churn.release import RELEASABLE
from convergence_assets.partitions import daily
from resources.lake import lake_asset
from resources.lineage import using

SCORED_DAYS = daily(date(2024, 2, 26), LAST_DAY)
_DECISION_LASTS = timedelta(days=6)  # the gate decides every week
_CHURN = {"key_prefix": "churn", "group_name": "churn_models", "owners": ["team:churn"]}


def of_day(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a day's champion."""
    row = rows.row(0, named=True)
    by = "the gate" if row["release"] is None else f"release {row['release']}"
    return {"champion": row["model_version"], "decided_by": by}


@lake_asset(
    contract=ChurnChampion,
    partitions_def=SCORED_DAYS,
    ins={"churn_promotions": dg.AssetIn(key_prefix="churn")},
    describe=of_day,
    metadata={"reads_releases": True},  # for `convergence reproduce`
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "release"},
    **_CHURN,
)
def churn_champions(context: dg.AssetExecutionContext, churn_promotions: pl.LazyFrame) -> pl.DataFrame:
    """Which churn model scores each day: the gate's choice, or what was released.

    Grain: day. Settled once: a promotion or rollback counts from the first day that has no champion yet, so that made
    again, a day gets the same one.
    """
    released = release_log.released(AuditLog(context.resources.lake.lake.store), RELEASABLE.name)
    days = [date.fromisoformat(key) for key in context.partition_keys]
    columns = [name for name in schema_of(ChurnChampion).names() if name != "event_date"]
    return promotions.champions(churn_promotions.collect(), released, days, columns=columns, within=_DECISION_LASTS)


def score(features: pl.DataFrame, champions: pl.DataFrame) -> pl.DataFrame:
    """ChurnScore rows: each customer by the champion of its day. Raises ModelError for a day without one."""
    parts = [pl.DataFrame(schema=schema_of(ChurnScore))]
    served = {row["event_date"]: row for row in champions.iter_rows(named=True)}
    for (day,), rows in features.partition_by("event_date", as_dict=True).items():
        if day not in served:
            raise ModelError(f"no champion on {day}: materialize churn/churn_champions of that day first")
        champion = served[day]
        scores = stored.load(champion["onnx"], sha256=champion["sha256"]).score_rows(rows)
        named = {name: pl.lit(champion[name]) for name in ("model_version", "model_as_of")}
        parts.append(rows.with_columns(score=scores, **named).select(schema_of(ChurnScore).names()))
    return pl.concat(parts).sort("event_time", "customer_id")


def score_figures(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a day's scores."""
    return {
        "customers": rows.height,
        "mean_score": float(rows["score"].to_numpy().mean()),
        "model_version": rows["model_version"][0],
    }


@lake_asset(
    contract=ChurnScore,
    partitions_def=SCORED_DAYS,
    ins={
        "customer_features": using(MODEL_INPUT, key_prefix="churn"),
        "churn_champions": using(("onnx",), key_prefix="churn"),
    },
    describe=score_figures,
    code_version="1",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "prediction"},
    **_CHURN,
)
def churn_scores(customer_features: pl.LazyFrame, churn_champions: pl.LazyFrame) -> pl.DataFrame:
    """Churn score of each customer by the champion of its day.

    Grain: customer. Issued once: new data or models show it as out of date, nothing rewrites it by itself. Made again
    from the same inputs, its files are the same bytes.
    """
    return score(customer_features.collect(), churn_champions.collect())
