"""The gate: whether a week's model may serve, and which one serves otherwise."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any

import dagster as dg
import polars as pl

from convergence.lake.contracts import schema_of
from convergence.models import metrics, promotions, splits, stored
from convergence_assets.churn.model_contracts import ChurnPromotion
from convergence_assets.churn.training import (
    DELAY_DAYS,
    GATE_DAYS,
    KEYS,
    KNOWN_WEEK,
    MODEL_WEEKS,
    feature_ins,
    known_labels,
    weeks,
)
from resources.keys import table_of
from resources.lake import lake_asset

# A quarter of the customers leave: five times a constant score's average precision, fraud's rule, is out of reach, and
# half of the base rate would let any calibration pass.
LIMITS = promotions.Limits(times_base_rate=2.0, calibration_error=0.25)
_SERVED = ("onnx", "sha256", "model")


def scored(served: Mapping[str, Any], rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the `score` of a stored model (its `onnx` and `sha256`); raises ModelError as `stored.load`."""
    return rows.with_columns(score=stored.load(served["onnx"], sha256=served["sha256"]).score_rows(rows))


def decide(
    challenger: Mapping[str, Any], champion: Mapping[str, Any] | None, features: pl.DataFrame, labels: pl.DataFrame
) -> dict[str, Any] | None:
    """The gate's decision on a challenger: one row of ChurnPromotion, or None where nobody may serve."""
    as_of = challenger["event_date"]
    rows = splits.training_rows(known_labels(features, labels, as_of), as_of, days=GATE_DAYS, delay=DELAY_DAYS)
    ours = promotions.Scores(challenger["model_version"], scored(challenger, rows))
    theirs = promotions.Scores(champion["model_version"], scored(champion, rows)) if champion else None
    measured = promotions.Served(len(challenger["onnx"]), json.loads(challenger["report"])["parity"])
    verdict = promotions.gate(ours, theirs, served=measured, limits=LIMITS, key="customer_id", label="churned")
    serving = {**challenger, "model_as_of": as_of} if verdict.passed else champion
    if serving is None:
        return None
    return {
        "event_date": as_of,
        "valid_from": as_of,
        "model_version": serving["model_version"],
        "model_as_of": serving["model_as_of"],
        "decided_at": datetime.combine(as_of, time(), UTC),
        "reason": verdict.reason,
        "challenger_version": challenger["model_version"],
        "promoted": verdict.passed,
        "gate_average_precision": metrics.average_precision(ours.rows["churned"], ours.rows["score"]),
        "gate": json.dumps(verdict.rules.to_dicts()),
        **{name: serving[name] for name in _SERVED},
    }


def gate_table(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a decision."""
    row = rows.row(0, named=True)
    return {
        "champion": row["model_version"],
        "gate_average_precision": row["gate_average_precision"],
        "promoted": row["promoted"],
        "reason": row["reason"],
        "gate": dg.MetadataValue.table([dg.TableRecord(rule) for rule in json.loads(row["gate"])]),
    }


@lake_asset(
    contract=ChurnPromotion,
    partitions_def=MODEL_WEEKS,
    ins=feature_ins(KNOWN_WEEK, KNOWN_WEEK, churn_model=dg.AssetIn(key_prefix="churn")),
    describe=gate_table,
    metadata={"reads_own_past": True},  # for `convergence reproduce`
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "release"},
    **KEYS,
)
def churn_promotions(
    context: dg.AssetExecutionContext,
    churn_model: pl.LazyFrame,
    customer_features: pl.LazyFrame,
    churn_labels: pl.LazyFrame,
) -> pl.DataFrame:
    """Which churn model serves from each as-of date on, decided by the gate.

    The challenger and the champion of the week before score the newest labelled week that the challenger's fit has
    not seen. A refused challenger leaves the champion in place.
    """
    features, known = customer_features.collect(), churn_labels.collect()
    champion = _champion_before(context)
    decisions: list[dict[str, Any]] = []
    for challenger in churn_model.sort("event_date").collect().iter_rows(named=True):
        decision = decide(challenger, champion, features, known)
        if decision:
            champion = decision
            decisions.append(decision)
            context.log.info(decision["reason"])
    return pl.DataFrame(decisions, schema=schema_of(ChurnPromotion))


def _champion_before(context: dg.AssetExecutionContext) -> dict[str, Any] | None:
    """The newest decision of an earlier week."""
    lake, table = context.resources.lake.lake, table_of(context.asset_key)
    if lake.open(table) is None:
        return None
    earlier = lake.scan(table).filter(pl.col("event_date") < weeks(context)[0])
    return next(earlier.sort("valid_from").tail(1).collect().iter_rows(named=True), None)
