"""Making a partition again from exactly what it was made from, and telling whether the same comes out.

The inputs are copied, as they were read, into a lake of their own; there the ordinary asset runs. So nothing that
counts is touched, and each input is compared with what its manifest says before anything is made from it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import polars as pl
from deltalake import DeltaTable

from convergence.errors import Erased, LakeError, TableMissing
from convergence.lake.content_hash import content_hash
from convergence.lake.erasures import erased_since
from convergence.lake.generations import FIRST
from convergence.lake.manifests import PartitionState, Provenance, build_manifest, manifest, states
from convergence.lake.tables import WHOLE, Lake, by_day, rows_of
from convergence.lake.verification import UNREADABLE, verify

TOLERANCE = 1e-6  # relative: what is left to libraries that do not sum in one order
_NONE = "1970-01-01"  # stands for the partitions of an input of which nothing was read: its columns were


@dataclass(frozen=True)
class Recorded:
    """A partition as its manifest describes it."""

    table: str
    partition: str
    version: int  # of the table, when the partition was committed
    rows: int
    content_hash: str
    revision: str
    lock: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Mapping[str, Any]]  # table -> version, generation, partitions read with their content hashes


@dataclass(frozen=True)
class Restored:
    """An input in the scratch lake: where it was read from, and which of its partitions are not what they were."""

    table: str
    version: int
    partitions: int
    rows: int
    changed: list[str]


@dataclass(frozen=True)
class Difference:
    """How two versions of the same rows differ first; `relative` is the largest deviation if only floats differ."""

    what: str
    relative: float | None = None


def recorded(lake: Lake, table: str, partition: str, version: int | None = None) -> Recorded:
    """What is on record of a partition, now or as of a version of its table.

    Raises TableMissing if it was never written, LakeError for rows that were landed and not made.
    """
    found = manifest(lake, table, partition, version)
    repaired = found.get("repaired", {})  # it tells of the commit that first held these rows
    if "erasure" in found and (erased := erased_since(lake, table, repaired.get("version", found["version"]) - 1)):
        raise erased
    if repaired.get("mode", found["mode"]) == "append":
        raise LakeError(
            f"{table} was landed from a stream and not made from other tables: `convergence replay --from-beginning` "
            "lands all of it again and compares"
        )
    return Recorded(
        table,
        partition,
        version=found["version"],
        rows=found["rows"],
        content_hash=found["content_hash"],
        revision=found["revision"],
        lock=found.get("lock", "unknown"),
        config=found["config"],
        inputs=found["inputs"],
    )


def version_of_model(lake: Lake, table: str, partition: str, model_version: str) -> int:
    """The newest version of a table in which a partition holds this model. Raises TableMissing if none does."""
    written = [c.version for c in lake.commits(table) if partition in c.manifest["partitions"]]
    for version in reversed(written):
        if model_version in _rows(lake, table, partition, version).get_column("model_version", default=pl.Series()):
            return version
    raise TableMissing(
        f"{table} {partition} never held a model {model_version}: `convergence manifest` shows the newest"
    )


def restore(lake: Lake, scratch: Lake, wanted: Recorded, *, past: bool = False) -> list[Restored]:
    """Copy each input as it was read into `scratch`; with `past`, the table's own earlier partitions too.

    Those are as of the commit: a run over a range goes by what it has just decided. Raises LakeError if the files of
    a version are gone.
    """
    restored = [
        _copied(lake, scratch, table, read["version"], read["partitions"], read.get("generation", FIRST))
        for table, read in wanted.inputs.items()
    ]
    if past:
        held = states(lake, [wanted.table], {wanted.table: wanted.version})[wanted.table]
        earlier = {key: state.content_hash for key, state in sorted(held.items()) if key < wanted.partition}
        if earlier:
            generation = lake.generation(wanted.table)
            restored.append(_copied(lake, scratch, wanted.table, wanted.version, earlier, generation))
    return restored


def first_difference(before: pl.DataFrame, after: pl.DataFrame) -> Difference | None:
    """Where two versions of the same rows, in whatever order, differ first; None if they are equal.

    Names a column and how far it differs, never what is in it.
    """
    if before.schema != after.schema:
        fields = set(before.schema.items()) ^ set(after.schema.items())
        return Difference(f"columns: {', '.join(sorted({name for name, _ in fields}))}")
    if before.height != after.height:
        return Difference(f"rows: {before.height:,} were recorded, {after.height:,} were made")
    order = [name for name, kind in before.schema.items() if not kind.is_nested() and kind != pl.Binary]
    before, after = (frame.sort(order, nulls_last=True) for frame in (before, after))
    unequal = [name for name in before.columns if not before[name].equals(after[name], null_equal=True)]
    if not unequal:
        return None
    floats = [name for name in unequal if before.schema[name].is_float()]
    far = {name: _relative(before[name], after[name]) for name in floats}
    name = next((n for n in unequal if n not in floats), None) or max(floats, key=lambda n: far[n])
    rows = int(before[name].ne_missing(after[name]).sum())
    said = f"column {name} in {rows:,} of {before.height:,} rows"
    if name in far:
        return Difference(f"{said}, by {far[name]:.1e} at most", max(far.values()))
    return Difference(said)


def rows_at(lake: Lake, wanted: Recorded) -> pl.DataFrame:
    """The recorded rows themselves. Raises LakeError if their files are gone."""
    version = None if _counts(lake, wanted) else wanted.version
    return _rows(lake, wanted.table, wanted.partition, version)


def harmed(lake: Lake, wanted: Recorded) -> list[str] | None:
    """What of the stored rows is not what their manifest says, in words; None: they were replaced and are gone."""
    if _counts(lake, wanted):
        return [str(damage) for damage in verify(lake, wanted.table, [wanted.partition]).damages]
    try:
        stored = content_hash(rows_at(lake, wanted))
    except Erased:
        raise
    except LakeError:
        return None
    there = f"{wanted.table}@{wanted.partition} version {wanted.version}"
    return [] if stored == wanted.content_hash else [f"{there}: its rows are not those of its manifest"]


def pins(lake: Lake, tables: Iterable[str]) -> dict[str, set[int]]:
    """The versions that reproduction needs: of what a partition that counts was made from and that has changed since.

    What has not changed since can be read from the newest version, however often its files were merged.
    """
    held = states(lake, tables := list(tables))
    pinned: dict[str, set[int]] = {}
    for table in tables:
        for commit in lake.commits(table):
            parts = commit.manifest["partitions"]
            count = [parts[key]["reads"] for key, s in held[table].items() if s.version == commit.version]
            for up, read in commit.manifest["inputs"].items():
                windows = [reads[up] for reads in count if up in reads]
                here = up in held and read.get("generation", FIRST) == lake.generation(up)
                gone = _changed(read["partitions"], held[up]) if here and windows else []
                if any(first <= key <= last for key in gone for first, last in windows):
                    pinned.setdefault(up, set()).add(read["version"])
    return pinned


def _counts(lake: Lake, wanted: Recorded) -> bool:
    """Whether the recorded rows are still those of the table: then its newest version holds them, merged or not."""
    held = states(lake, [wanted.table])[wanted.table].get(wanted.partition)
    return held is not None and held.version == wanted.version


def _rows(lake: Lake, table: str, partition: str, version: int | None) -> pl.DataFrame:
    with _readable(lake, table, version):
        return lake.scan(table, None if partition == WHOLE else [partition], version).collect()


def _copied(
    lake: Lake, scratch: Lake, table: str, version: int, hashes: Mapping[str, str], generation: int
) -> Restored:
    there = lake.at({table: generation})
    unchanged = not _changed(hashes, states(there, [table])[table])
    with _readable(there, table, version):
        handle = there.open(table, None if unchanged else version)
        assert handle
        parts = dict(_partitions(handle, hashes)) or {_NONE: rows_of(handle).head(0).collect()}
    made = build_manifest(parts, "replace", Provenance(run_id="restored", code_version="", origins=["restored"]))
    changed = [key for key, content in hashes.items() if made["partitions"][key]["hash"] != content]
    scratch.replace(table, parts, made, None)
    return Restored(table, version, len(hashes), sum(part.height for part in parts.values()), changed)


def _partitions(handle: DeltaTable, keys: Collection[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    if WHOLE in keys:
        yield WHOLE, rows_of(handle).collect()
    elif keys:
        rows = rows_of(handle, list(keys)).collect()
        there = by_day(rows)
        for key in keys:
            yield key, there.get(key, rows.clear())


def _changed(recorded: Mapping[str, str], now: Mapping[str, PartitionState]) -> list[str]:
    return [key for key, content in recorded.items() if key not in now or now[key].content_hash != content]


def _relative(before: pl.Series, after: pl.Series) -> float:
    if before.null_count() != after.null_count() or not before.is_null().equals(after.is_null()):
        return float("inf")
    scale = pl.max_horizontal(before.abs(), after.abs())
    apart = pl.select(((before - after).abs() / scale).fill_nan(0.0).max()).item()
    return float(apart or 0.0)


@contextmanager
def _readable(lake: Lake, table: str, version: int | None) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as error:
        if version is None:
            raise LakeError(
                f"{table} cannot be read ({type(error).__name__}): `convergence verify {table}` says where"
            ) from error
        if erased := erased_since(lake, table, version):
            raise erased from None
        raise LakeError(
            f"{table} cannot be read as of version {version} any more ({type(error).__name__}): its files were removed "
            "since, so what was made from it cannot be made again; a copy of the lake may still hold them"
        ) from error
