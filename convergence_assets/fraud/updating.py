"""The online update: a week's booster is that of the week before, continued on the newest labels, if the gate agrees.

Each week is scored before it is learned from (prequential), by the booster that serves, its update, one that was never
updated and the week's full fit: so the table says what an update is worth.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns, schema_of
from convergence.markdown import table
from convergence.models import boosting, ensemble, metrics, promotions, splits
from convergence.models.calibration import Calibration
from convergence.models.gated import named
from convergence.models.gated_contracts import LEARNED
from convergence.monitoring.contracts import AS_OF
from convergence_assets._parts.cards import rules_table
from convergence_assets._parts.gated import earlier, history, keys_of
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.training import SEED, checked, matrix, trees
from convergence_assets.fraud.use_case import MODEL
from resources.keys import key_of
from resources.lake import lake_asset

# Chosen on the weeks of 2018-05-23 to 07-03, all before the first week that is scored here: of 7 and 28 days, and of
# 5 to 30 rounds, these came closest to a full fit.
LEARNED_DAYS, ROUNDS, THINNED = 28, 25, 4
_UNSEEN = MODEL.schedule.delay_days + MODEL.schedule.gate_days  # before a date: they judge the update
WINDOW = timedelta(days=LEARNED_DAYS + _UNSEEN)
_RIVALS = ("average_precision", "average_precision_update", "average_precision_frozen", "average_precision_refit")


_CONTINUED = {"from": ["model.model", "model.parameters", *LEARNED]}


class FraudUpdatedModel(pa.DataFrameModel):
    """The booster that serves from a week on, and how it and its rivals scored the week before they learned from it."""

    event_date: date = pa.Field(description="As-of date: nothing after the start of this day was seen", metadata=AS_OF)
    model_version: str = pa.Field(
        description="What serves: as-of date of its last update and first digits of sha256", metadata=_CONTINUED
    )
    updated: bool = pa.Field(description="Whether this week's update passed the gate; otherwise the last one stays")
    reason: str = pa.Field(description="The gate's verdict in words")
    gate: str = pa.Field(description="Rules with value, limit and verdict, as JSON")
    onnx: bytes = pa.Field(
        description="What serves: ONNX graph to a probability, signature inside", metadata=_CONTINUED
    )
    sha256: str = pa.Field(
        str_length=64, description="Hash of onnx, without which it is not opened", metadata=_CONTINUED
    )
    model: str = pa.Field(description="The same as XGBoost JSON: what the next update continues", metadata=_CONTINUED)
    trees: int = pa.Field(gt=0, description="Trees in it")
    frozen: str = pa.Field(description="The first week's booster, never updated, as XGBoost JSON")
    scored_rows: int = pa.Field(gt=0, description="Transactions of the newest week with known labels")
    scored_frauds: int = pa.Field(gt=0, description="Frauds among them")
    average_precision: float = pa.Field(ge=0, le=1, description="On that week, of what served before it was learned")
    average_precision_update: float = pa.Field(ge=0, le=1, description="On that week, of the update that asks to serve")
    average_precision_frozen: float = pa.Field(ge=0, le=1, description="On that week, without any update")
    average_precision_refit: float = pa.Field(ge=0, le=1, description="On that week, of the trees of a full fit")
    history: str = pa.Field(description="These figures of this week and all before, as JSON")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = _CONTINUED


def update(
    refit: Mapping[str, Any], before: Mapping[str, Any] | None, features: pl.DataFrame, labels: pl.DataFrame
) -> dict[str, Any] | None:
    """A week's row of FraudUpdatedModel.

    The update learns from LEARNED_DAYS of labels up to the newest week that was known a week ago; the gate compares it
    with its predecessor on the week known since, which neither has seen.

    Args:
        refit: the week's row of FraudModel: the first booster, later what an update is compared with.
        before: the row of the week before, None in the first week.
        features: of the days that are learned and scored.
        labels: of the same days.

    Returns:
        None where there is no predecessor and the gate refuses the first booster.
    """
    as_of = refit["event_date"]
    days = pl.col("event_date").is_between(as_of - WINDOW, as_of, closed="left")
    known = MODEL.known(features.filter(days), labels.filter(days), as_of)
    newest = splits.training_rows(known, as_of, days=MODEL.schedule.gate_days, delay=MODEL.schedule.delay_days)
    model = refit["model"] if before is None else _continued(before["model"], refit["parameters"], known, as_of)
    ours, theirs = _scored(model, newest), _scored(before["model"], newest) if before else None
    onnx, parity, _ = checked(_served(model), newest)
    challenger = {"model": model, **named(onnx, as_of)}
    verdict = promotions.gate(
        promotions.Scores(challenger["model_version"], ours),
        promotions.Scores(before["model_version"], theirs) if before and theirs is not None else None,
        task=MODEL.task,
        served=promotions.Served(len(onnx), parity),
    )
    serving = challenger if verdict.passed else before
    if serving is None:
        return None
    frozen = before["frozen"] if before else model
    scores = (ours if theirs is None else theirs, ours, _scored(frozen, newest), _scored(refit["model"], newest))
    figures = {
        name: metrics.average_precision(rows["is_fraud"], rows["score"])
        for name, rows in zip(_RIVALS, scores, strict=True)
    }
    week = {"event_date": str(as_of), "updated": verdict.passed, **figures}
    return {
        "event_date": as_of,
        **{name: serving[name] for name in ("model_version", "onnx", "sha256", "model")},
        "updated": verdict.passed,
        "reason": verdict.reason,
        "gate": json.dumps(verdict.rules.to_dicts()),
        "trees": boosting.rounds(serving["model"]),
        "frozen": frozen,
        "scored_rows": newest.height,
        "scored_frauds": int(newest["is_fraud"].sum()),
        **figures,
        "history": json.dumps([*json.loads(before["history"] if before else "[]"), week]),
    }


def _continued(model: str, parameters: str, known: pl.DataFrame, as_of: date) -> str:
    """The booster with ROUNDS more trees, fitted on the days before the newest week with known labels."""
    rows = splits.training_rows(known, as_of, days=LEARNED_DAYS, delay=_UNSEEN)
    few = matrix(rows).thinned(THINNED, SEED)
    return trees(few, {**json.loads(parameters), "rounds": ROUNDS}, grown_from=model).model


def _served(model: str) -> ensemble.Ensemble:
    """The booster's own probability: its objective is the likelihood, and no row is weighted away from its share."""
    members = {"xgboost": boosting.Trees(model, nthread=2)}
    return ensemble.Ensemble(members, np.ones(1), Calibration("platt", 0.0, np.ones(1), np.empty(0)))


def _scored(model: str, rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(score=pl.Series(_served(model).score(matrix(rows).values)))


def prequential(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows: each figure, which Dagster plots over the weeks, and the table of all weeks so far."""
    row = rows.row(0, named=True)
    history = json.loads(row["history"])
    lines = [
        [week["event_date"], *(week[name] for name in _RIVALS), "yes" if week["updated"] else "refused"]
        for week in history
    ]
    means = ["mean", *(float(np.mean([week[name] for week in history])) for name in _RIVALS), None]
    return {
        **{name: row[name] for name in (*_RIVALS, "model_version", "updated", "trees", "scored_frauds", "reason")},
        "gate": rules_table(row["gate"]),
        "prequential": dg.MetadataValue.md(
            "Average precision on the newest week with known labels, which nobody has learned from.\n\n"
            + table(["as of", "serving", "its update", "never updated", "full fit", "updated"], [*lines, means])
        ),
    }


def update_weeks(
    refits: Sequence[Mapping[str, Any]], before: dict[str, Any] | None, features: pl.DataFrame, labels: pl.DataFrame
) -> pl.DataFrame:
    """FraudUpdatedModel rows of weeks in order, each from the one before."""
    rows = []
    for refit in refits:
        row = update(refit, before, features, labels)
        if row:
            before = row
            rows.append(row)
    return pl.DataFrame(rows, schema=schema_of(FraudUpdatedModel))


@lake_asset(
    contract=FraudUpdatedModel,
    partitions_def=FRAUD.weeks,
    ins={"model": dg.AssetIn(key_of(MODEL.models))} | history(MODEL, -(WINDOW.days // 7), MODEL.schedule.known_week),
    describe=prequential,
    metadata={"reads_own_past": True},  # for `convergence reproduce`
    code_version="1",
    kinds={"xgboost", "deltalake"},
    tags={"layer": "model"},
    **keys_of(MODEL),
)
def fraud_updated_model(
    context: dg.AssetExecutionContext,
    model: pl.LazyFrame,
    features: pl.LazyFrame,
    labels: pl.LazyFrame,
) -> pl.DataFrame:
    """Boosted trees continued each week with the newest labels.

    The gate compares an update with its predecessor on a week that neither has learned from; a refused one leaves the
    predecessor in place. Beside them stand the same trees without updates and the week's full fit.
    """
    past = earlier(context)
    newest = past.sort("event_date").tail(1).collect().to_dicts() if past is not None else []
    before = newest[0] if newest else None
    refits = model.sort("event_date").collect().to_dicts()
    return update_weeks(refits, before, features.collect(), labels.collect())
