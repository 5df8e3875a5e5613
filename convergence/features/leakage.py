"""Finds features that know what they cannot have known, by computing rows again from their own past alone.

A leak is named by what changes the value: labels that were not known yet, rows of other entities (a statistic fitted on
more than the row's own history), or the entity's own future.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.views import FeatureView

Compute = Callable[..., pl.DataFrame]  # (one frame per source by name, start, end) -> feature rows

KINDS = {
    "target": "uses labels before they were known",
    "fitted": "depends on rows of other entities, such as a statistic fitted on more than its own past",
    "temporal": "uses rows from after its own time",
    "stale": "differs from what the declaration gives today",
}


@dataclass(frozen=True)
class Leak:
    """A feature, the kind of leak (a key of KINDS), and the row (its sequence value) in which it shows."""

    feature: str
    kind: str
    row: object


def find_leaks(
    stored: pl.DataFrame,
    view: FeatureView,
    compute: Compute,
    sources: Mapping[str, pl.DataFrame],
    known: Mapping[str, str],
) -> list[Leak]:
    """Compare stored feature rows with what their own past gives.

    `stored` holds the rows to look at: a sample. `sources` are the frames that `compute` takes by name, past and
    future included; `known` names the column of each that says when a row became known. Raises ConvergenceError when a
    row is not in its own source.
    """
    if missing := [column for column in _entity_columns(view) if column not in stored.columns]:
        raise ConvergenceError(
            f"{view.name} does not keep {', '.join(missing)}, by which a row's history is found: add it to `keep`"
        )
    near = {s: frame.filter(_any_entity_of(view, stored)) for s, frame in sources.items()}
    found: list[Leak] = []
    for row in stored.iter_rows(named=True):
        own = {s: frame.filter(_same_entity(view, row)) for s, frame in near.items()}
        before = {s: frame.filter(pl.col(known[s]) <= pl.lit(row["arrived_at"])) for s, frame in own.items()}
        expected = _compute(compute, before, row, view)
        different = [f for f in view.features if _differ(row[f], expected[f])]
        if different:
            kinds = _diagnose(compute, view, row, expected, own, before, sources, known)
            for feature in different:
                kind = next((k for k, changed in kinds.items() if feature in changed), "stale")
                found.append(Leak(feature, kind, row[view.sequence]))
    return found


def _diagnose(
    compute: Compute,
    view: FeatureView,
    row: Mapping[str, object],
    expected: Mapping[str, object],
    own: Mapping[str, pl.DataFrame],
    before: Mapping[str, pl.DataFrame],
    sources: Mapping[str, pl.DataFrame],
    known: Mapping[str, str],
) -> dict[str, set[str]]:
    """Per kind of leak the features that change when that part of what was unknown is let in."""
    others = {s: frame.filter(pl.col(known[s]) <= pl.lit(row["arrived_at"])) for s, frame in sources.items()}
    let_in = {
        "target": {s: before[s] if s == view.source else own[s] for s in sources},
        "fitted": others,
        "temporal": {s: own[s] if s == view.source else before[s] for s in sources},
    }
    recomputed = {kind: _compute(compute, frames, row, view) for kind, frames in let_in.items()}
    return {kind: {f for f in view.features if _differ(expected[f], r[f])} for kind, r in recomputed.items()}


def _entity_columns(view: FeatureView) -> list[str]:
    return list(dict.fromkeys(column for aggregate in view.aggregates for column in aggregate.entity))


def _same_entity(view: FeatureView, row: Mapping[str, object]) -> pl.Expr:
    return pl.any_horizontal(pl.col(column) == row[column] for column in _entity_columns(view))


def _any_entity_of(view: FeatureView, rows: pl.DataFrame) -> pl.Expr:
    return pl.any_horizontal(pl.col(column).is_in(rows[column].unique().implode()) for column in _entity_columns(view))


def _compute(
    compute: Compute, frames: Mapping[str, pl.DataFrame], row: Mapping[str, object], view: FeatureView
) -> dict[str, object]:
    at = row["event_time"]
    assert isinstance(at, datetime)
    rows = compute(**frames, start=at, end=at + timedelta(microseconds=1))
    mine = rows.filter(pl.col(view.sequence) == row[view.sequence])
    if mine.height != 1:
        raise ConvergenceError(
            f"{view.name}: the row {view.sequence}={row[view.sequence]} of {at} was found {mine.height} times in "
            f"{view.source}; expected once. Materialize {view.name} again."
        )
    return mine.row(0, named=True)


def _differ(left: object, right: object) -> bool:
    return left != right and not (left != left and right != right)  # noqa: PLR0124  (two NaN are the same)
