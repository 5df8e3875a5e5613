"""What the UI shows of a gated model's versions, decisions, champions and scores."""

import json
from typing import Any

import dagster as dg
import polars as pl

from convergence.models.gated import GatedModel


def model_card(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a version: the numbers of its report."""
    row = rows.row(0, named=True)
    report = json.loads(row["report"])
    return {
        "model_version": row["model_version"],
        "training_rows": row["training_rows"],
        "size_mb": round(len(row["onnx"]) / 1e6, 2),
        **{name: value for name, value in report.items() if isinstance(value, int | float)},
        "model_card": dg.MetadataValue.md(
            f"**{row['model_version']}** on rows of {row['training_first_day']} to {row['training_last_day']}, labels "
            f"known by {row['event_date']}. Parameters `{row['parameters']}`."
        ),
    }


def decision_card(declared: GatedModel, rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a decision."""
    row = rows.row(0, named=True)
    return {
        "champion": row["model_version"],
        declared.gate_measure: row[declared.gate_measure],
        "promoted": row["promoted"],
        "reason": row["reason"],
        "gate": rules_table(row["gate"]),
    }


def rules_table(rules: str) -> dg.TableMetadataValue:
    """The rules of a verdict, from JSON."""
    return dg.MetadataValue.table([dg.TableRecord(rule) for rule in json.loads(rules)])


def champion_card(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a day's champion."""
    row = rows.row(0, named=True)
    by = "the gate" if row["release"] is None else f"release {row['release']}"
    numbers = {name: value for name, value in row.items() if isinstance(value, float)}
    return {"champion": row["model_version"], "decided_by": by, **numbers}


def score_card(declared: GatedModel, rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a day's scores."""
    mean = {"mean_score": rows["score"].mean()} if rows.schema["score"].is_numeric() else {}
    return {"scored": rows[declared.task.key].n_unique(), **mean, "model_version": rows["model_version"][0]}
