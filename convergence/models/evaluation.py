"""The walk-forward of a gated model: each version judged on the week after its date, once the labels are known."""

from collections.abc import Mapping
from typing import Any

import polars as pl

from convergence.errors import ConvergenceError
from convergence.models import splits
from convergence.models.gated import GatedModel, scored


def evaluation_row(
    model: GatedModel, version: Mapping[str, Any], features: pl.DataFrame, labels: pl.DataFrame
) -> dict[str, Any]:
    """One row of Evaluation: a version (its row of TrainedModel) on the week from its as-of date on.

    Raises:
        ConvergenceError: a row of the week has no label yet, the week has no rows or fewer than two days of them, one
            class only, or scores that cannot be meant.
        ModelError: the graph cannot be opened.
    """
    task, as_of = model.task, version["event_date"]
    known = labels.select(*model.row, task.label)
    week = splits.evaluation_rows(features, as_of).join(known, on=model.row, how="left", maintain_order="left")
    rows = scored(version, week)
    if invalid := task.insane(rows):
        raise ConvergenceError(
            f"{invalid} of {rows.height} scores of {version['model_version']} are not {task.domain}, which "
            "nothing can be measured by; mend the fit and train it again"
        )
    judged, found = task.rows(rows), task.judge(rows)
    name = task.measure.name
    calibration = {"calibration_error": task.calibration.error(judged)} if task.calibration else {}
    return {
        "event_date": as_of,
        "model_version": version["model_version"],
        "test_rows": rows.height,
        "baseline": task.baseline(judged),
        name: found.estimate,
        f"{name}_low": found.low,
        f"{name}_high": found.high,
        **calibration,
        **{figure.name: figure.of(judged) for figure in model.figures},
    }
