"""Whether what was served is what the batch computes: each logged vector is made again from the lake as of its offsets.

The batch sees the rows that the state had consumed, and the served row in the place of any version of itself. Equal
means equal to the last bit.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.keys import time_of
from convergence.features.online_state import DAY
from convergence.features.online_updates import OnlineFeatures
from convergence.features.windows import compute
from convergence.lake.tables import Lake, rows_of

Line = Mapping[str, Any]  # of the served log
Compute = Callable[..., pl.DataFrame]  # (view, frames by source, start, end) -> feature rows


class ParityBroken(ConvergenceError):
    """Served features differ from those of the batch."""


@dataclass(frozen=True)
class Difference:
    """A feature that was served with another value than the batch gives."""

    feature: str
    request_id: str
    row: Any  # its sequence value
    served: float
    expected: float


def served_lines(folder: Path, most: int) -> list[Line]:
    """Evenly spread lines of the newest day of a served log that has some; those on defaults are left out."""
    for file in sorted(folder.glob("*.jsonl"), reverse=True):
        with file.open() as text:
            lines = [line for line in map(_parsed, text) if line and line["meta"] and not line["degraded"]]
        if lines:
            return [lines[n] for n in np.unique(np.linspace(0, len(lines) - 1, most).astype(int))]
    return []


def _parsed(text: str) -> Line | None:
    try:
        return json.loads(text)
    except ValueError:  # the server was killed in the middle of it
        return None


def differences(
    lake: Lake, features: OnlineFeatures, lines: Iterable[Line], *, compute: Compute = compute
) -> list[Difference]:
    """Make every served vector again; those features of it that differ.

    Raises:
        ConvergenceError: a line is of another version of the view, or its version of the table is gone.
    """
    view, layout = features.online.view, features.online.layout
    found: list[Difference] = []
    key = lambda line: (line["meta"]["generation"], line["meta"]["version"])  # noqa: E731
    for (generation, version), of_version in groupby(sorted(lines, key=key), key):
        group = list(of_version)
        if strangers := {line["fingerprint"] for line in group} - {layout.fingerprint}:
            raise ConvergenceError(
                f"served rows have fingerprint {', '.join(strangers)}, {view.name} now has {layout.fingerprint}: check "
                "them with the code that served them"
            )
        if generation != lake.generation(features.table):
            raise ConvergenceError(f"{features.table} was rebuilt since: what was served before cannot be made again")
        frames = _consumed(lake, features, group, version)
        for line in group:
            expected = _again(features, frames, line["row"], compute)
            served = [np.nan if value is None else value for value in line["features"]]
            for feature, had, has in zip(view.features, served, expected, strict=True):
                if had != has and not (np.isnan(had) and np.isnan(has)):
                    found.append(Difference(feature, line["request_id"], line["row"][view.sequence], had, has))
    return found


def _consumed(lake: Lake, features: OnlineFeatures, lines: Sequence[Line], version: int) -> Mapping[str, pl.DataFrame]:
    """The rows of each source that the state had consumed, of the entities of these lines."""
    times = [line["row"]["event_time"] for line in lines]
    raw = lake.open(features.table, version)
    assert raw is not None
    rows = rows_of(raw, features.days_before(min(times), max(times)))
    near = pl.any_horizontal(
        pl.col(column).is_in(list({line["row"][column] for line in lines}))
        for entity in features.online.layout.entities
        for column in entity
    )
    return {source: derive(rows).filter(near).collect() for source, derive in features.derive.items()}


def _again(
    features: OnlineFeatures, frames: Mapping[str, pl.DataFrame], row: Mapping[str, Any], compute: Compute
) -> list[float]:
    view = features.online.view
    at = time_of(row["event_time"])
    mine = pl.any_horizontal(pl.col(c) == row[c] for e in features.online.layout.entities for c in e)
    own = {source: frame.filter(mine) for source, frame in frames.items()}
    itself = (pl.col(view.sequence) == row[view.sequence]) & (
        pl.col("event_time").dt.epoch("us") // DAY == row["event_time"] // DAY
    )
    times = {c: time_of(row[c]) for c in ("event_time", "arrived_at")}
    schema = frames[view.source].schema
    one = pl.DataFrame([{c: ({**row, "event_date": at.date()} | times).get(c) for c in schema}], schema)
    own[view.source] = pl.concat([own[view.source].filter(~itself), one])
    made = compute(view, own, at, at + timedelta(microseconds=1)).filter(pl.col(view.sequence) == row[view.sequence])
    return made.select(pl.col(view.features).cast(pl.Float64).fill_null(float("nan"))).row(0)  # pyright: ignore
