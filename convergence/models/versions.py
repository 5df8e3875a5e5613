"""The versions of a model that there are: what the gate said of each, and which one serves."""

from typing import NamedTuple

import polars as pl

from convergence.lake.tables import Lake
from convergence.models.releasable import Releasable
from convergence.models.release_log import newest
from convergence.models.releases import Release
from convergence.versions.audit import AuditLog

_MEASURE = "gate_"  # begins the name of a decision's column with what the gate measured


class Version(NamedTuple):
    """A version, newest first in a list; None where it is not known."""

    version: str
    as_of: str | None  # None: its date was made again since, and it is kept because it was released
    measure: str | None
    measured: float | None  # of the challenger, on the gate's rows
    passed: bool | None  # None: never judged
    verdict: str
    serves: str  # what, in words; empty: nothing


def versions(lake: Lake, model: Releasable) -> list[Version]:
    """All versions in the model's table, and those that serve, newest first."""
    there = _rows(lake, model.models, ["event_date", "model_version"])
    judged = {str(row["challenger_version"]): row for row in _rows(lake, model.decisions)}
    release = newest(AuditLog(lake.store), model.name)
    champions = [(str(row["event_date"]), str(row["model_version"])) for row in _rows(lake, model.champions)]
    day, batch = champions[-1] if champions else ("", None)
    as_of = {str(row["model_version"]): str(row["event_date"]) for row in there}
    serving = [v for v in (release and release.model_version, _challenger(release), batch) if v]
    found = [*reversed(as_of), *(version for version in dict.fromkeys(serving) if version not in as_of)]
    return [_version(model, v, as_of.get(v), judged.get(v), _serves(v, release, batch, day)) for v in found]


def _version(
    model: Releasable, version: str, as_of: str | None, judged: dict[str, object] | None, serves: str
) -> Version:
    column = next((name for name in judged or () if name.startswith(_MEASURE)), None)
    measured = judged[column] if judged and column else None
    return Version(
        version,
        as_of,
        column.removeprefix(_MEASURE) if column else None,
        float(measured) if isinstance(measured, float | int) else None,
        bool(judged["promoted"]) if judged else None,
        str(judged["reason"]) if judged else f"never judged: materialize {model.decisions} of {as_of or 'its date'}",
        serves,
    )


def _serves(version: str, release: Release | None, batch: str | None, day: str) -> str:
    said = []
    if release and release.model_version == version:
        said.append(f"requests, by release {release.number}")
    if release and release.canary and _challenger(release) == version:
        said.append(f"{release.canary['share']:.0%} of requests, by release {release.number}")
    if batch == version:
        said.append(f"batch, {day}")
    return "; ".join(said)


def _challenger(release: Release | None) -> str | None:
    return release.canary["model_version"] if release and release.canary else None


def _rows(lake: Lake, table: str, columns: list[str] | None = None) -> list[dict[str, object]]:
    """The rows of a table by day, without the models themselves; none where it has never been written."""
    if lake.open(table) is None:
        return []
    rows = lake.scan(table)
    kept = rows.select(columns) if columns else rows.drop("onnx", "model", strict=False)
    return kept.sort("event_date").with_columns(pl.col("event_date").cast(pl.String)).collect().to_dicts()
