"""What every partition holds and what it was made from: in the commit itself, and collected in one table to search.

The collecting table is landed from the tables' logs exactly once, like any other stream, so a crash between a commit
and its record loses nothing and the table can be rebuilt from the logs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from typing import Any, Literal, NamedTuple

import polars as pl
from deltalake import DeltaTable

from convergence.errors import ConcurrentWrite, TableMissing
from convergence.faults import fault
from convergence.lake import acknowledged
from convergence.lake.content_hash import add_hashes, content_hash
from convergence.lake.generations import FIRST
from convergence.lake.tables import Commit, Lake, rows_of

MANIFESTS = "_manifests"

_SCHEMA = {
    "table": pl.String,  # where it lies, so that generations do not mix
    "partition": pl.String,
    "version": pl.Int64,
    "mode": pl.String,
    "rows": pl.Int64,
    "content_hash": pl.String,
    "inputs": pl.String,
    "code_version": pl.String,
    "run_id": pl.String,
    "origins": pl.List(pl.String),
    "committed_at": pl.Datetime("us", "UTC"),
    "manifest": pl.String,
}
_STATE = [
    "table",
    "partition",
    "version",
    "mode",
    "rows",
    "content_hash",
    "inputs",
    "code_version",
    "run_id",
    "origins",
]


class PartitionState(NamedTuple):
    """The newest content of one partition."""

    version: int  # of the table, when it was committed
    rows: int
    content_hash: str
    inputs: str  # digest of the upstream content hashes that it was made from
    code_version: str
    run_id: str
    origins: tuple[str, ...]  # of the data: real or simulated, and which


@dataclass(frozen=True)
class InputRead:
    """An upstream table as it was read: its version, the content of each partition, and whose version it is."""

    version: int
    partitions: Mapping[str, str]
    generation: int = FIRST


@dataclass(frozen=True)
class Provenance:
    """Who made a commit, from what. `reads` lists, per partition written, the upstream partitions that it reads."""

    run_id: str
    code_version: str
    revision: str = "unknown"
    config: Mapping[str, Any] = field(default_factory=dict)
    origins: Sequence[str] = ()
    inputs: Mapping[str, InputRead] = field(default_factory=dict)
    reads: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)
    lock: str = "unknown"  # which libraries: a hash of the lock file


def inputs_digest(inputs: Mapping[str, Mapping[str, str]]) -> str:
    """A fingerprint of upstream content: table -> partition -> content hash. Absent partitions are left out."""
    return lines_digest({table: input_lines(hashes).values() for table, hashes in inputs.items()})


def input_lines(hashes: Mapping[str, str]) -> dict[str, str]:
    """The line by which each partition of an upstream table enters the fingerprint."""
    return {key: f"{key}={content}\n" for key, content in hashes.items()}


def lines_digest(lines: Mapping[str, Iterable[str]]) -> str:
    """The fingerprint from its lines: for whoever asks for many partitions that share their inputs."""
    text = "".join(f"{table}\n{''.join(lines[table])}" for table in sorted(lines))
    return blake2b(text.encode(), digest_size=12).hexdigest()


def build_manifest(
    partitions: Mapping[str, pl.DataFrame], mode: Literal["replace", "append"], provenance: Provenance
) -> dict[str, Any]:
    """The manifest of a commit to come: with `append`, a partition's hash is that of its new rows alone."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        hashes = list(pool.map(content_hash, partitions.values()))
    return {
        "mode": mode,
        **{k: v for k, v in asdict(provenance).items() if k != "reads"},
        "partitions": {
            key: {
                "rows": frame.height,
                "hash": digest,
                "inputs": _digest_of(provenance, key),
                "reads": {up: [keys[0], keys[-1]] for up, keys in provenance.reads.get(key, {}).items() if keys},
            }
            for (key, frame), digest in zip(partitions.items(), hashes, strict=True)
        },
    }


def record(lake: Lake, tables: Iterable[str]) -> None:
    """Bring the manifests table up to date with the logs of these tables, each commit exactly once."""
    tables = list(tables)
    for table in tables:
        _refuse_loss(lake, table)
    fault("before_record")
    while True:
        base = lake.open(MANIFESTS)
        frame, consumed = _unrecorded(lake, tables, base)
        if frame.is_empty():
            return None
        try:
            return lake.append(MANIFESTS, frame, {}, consumed, base, dated=False)
        except ConcurrentWrite:
            continue  # somebody else recorded them: look again


def _unrecorded(lake: Lake, tables: Iterable[str], base: DeltaTable | None) -> tuple[pl.DataFrame, dict[str, int]]:
    """What the manifests table as opened does not hold of these tables, as `collect` gives it."""
    known = {t: base.transaction_version(log_of(lake, t)) if base else None for t in tables}
    return collect(lake, {t: -1 if last is None else last for t, last in known.items()})


def collect(lake: Lake, after: Mapping[str, int]) -> tuple[pl.DataFrame, dict[str, int]]:
    """The manifests in the tables' logs later than these versions, and up to where each log was read."""
    commits = {table: list(lake.commits(table, last)) for table, last in after.items()}
    rows = [row for table, entries in commits.items() for c in entries for row in _rows(lake.location(table), c)]
    read = {log_of(lake, table): entries[-1].version for table, entries in commits.items() if entries}
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row"), read


def states(
    lake: Lake, tables: Sequence[str], until: Mapping[str, int] | None = None
) -> dict[str, dict[str, PartitionState]]:
    """The newest state of every partition of these tables, or the state as of table versions `until`.

    Records what is not recorded yet, unless the lake is only for reading.
    """
    handle, fresh = _recorded(lake, tables)
    found: dict[str, dict[str, PartitionState]] = {t: {} for t in tables}
    names = {lake.location(table): table for table in tables}
    rows = pl.concat([*([rows_of(handle).select(_STATE)] if handle else []), fresh.lazy().select(_STATE)]).filter(
        pl.col("table").is_in(list(names))
    )
    if until:
        known = {lake.location(table): version for table, version in until.items()}
        newest = pl.col("table").replace_strict(known, default=None, return_dtype=pl.Int64)
        rows = rows.filter((pl.col("version") <= newest).fill_null(True))
    replaced = pl.col("version").filter(pl.col("mode") == "replace").max().over("table", "partition").fill_null(0)
    rows = rows.filter(pl.col("version") >= replaced).sort("version").collect()  # what was replaced is history
    for place, partition, version, mode, count, digest, inputs, code, run, origins in rows.iter_rows():
        mine = found[names[place]]
        there = mine.get(partition) if mode == "append" else None
        if there:
            count, digest = there.rows + count, add_hashes(there.content_hash, digest)  # noqa: PLW2901
        mine[partition] = PartitionState(version, count, digest, inputs, code, run, tuple(origins))
    return found


def _recorded(lake: Lake, tables: Sequence[str]) -> tuple[DeltaTable | None, pl.DataFrame]:
    """The manifests table, and what it lacks of these tables."""
    if not lake.reading:
        record(lake, tables)
        return lake.open(MANIFESTS), pl.DataFrame(schema=_SCHEMA)
    for table in tables:
        _refuse_loss(lake, table)
    base = lake.open(MANIFESTS)
    return base, _unrecorded(lake, tables, base)[0]


def manifest(lake: Lake, table: str, partition: str, version: int | None = None) -> dict[str, Any]:
    """The whole manifest of a partition, the newest or as of a version of its table. Raises TableMissing."""
    state = states(lake, [table], {table: version} if version is not None else None)[table].get(partition)
    if state is None:
        raise TableMissing(f"{table} {partition or '(whole table)'} has never been written: materialize it first")
    commit = next(c for c in lake.commits(table, state.version - 1) if c.version == state.version)
    shared = {k: v for k, v in commit.manifest.items() if k != "partitions"}
    windows = commit.manifest["partitions"][partition]["reads"]

    def read(up: str, key: str) -> bool:
        return up in windows and windows[up][0] <= key <= windows[up][1]

    shared["inputs"] = {
        up: {**there, "partitions": {k: h for k, h in there["partitions"].items() if read(up, k)}}
        for up, there in shared["inputs"].items()
    }
    return {
        "table": table,
        "partition": partition,
        "generation": lake.generation(table),
        "version": state.version,
        "committed_at": commit.timestamp.isoformat(),
        "rows": state.rows,
        "content_hash": state.content_hash,
        **shared,
    }


def _digest_of(provenance: Provenance, key: str) -> str:
    hashes = {up: read.partitions for up, read in provenance.inputs.items()}
    return inputs_digest(
        {up: {k: hashes[up][k] for k in keys if k in hashes[up]} for up, keys in provenance.reads.get(key, {}).items()}
    )


def _refuse_loss(lake: Lake, table: str) -> None:
    """Raise LakeError where the newest commit is lost: who asks for states alone does not open the table."""
    if (folder := lake.folder(table)) and (known := acknowledged.newest(folder)):
        acknowledged.refuse_loss(table, folder, known.version, known)


def log_of(lake: Lake, table: str) -> str:
    """The application id under which a table's log is landed."""
    return f"log/{lake.location(table)}"


def _rows(table: str, commit: Commit) -> list[tuple[Any, ...]]:
    m, whole = commit.manifest, iter([json.dumps(commit.manifest)])  # once per commit, on its first row
    return [
        (table, key, commit.version, m["mode"], p["rows"], p["hash"], p["inputs"], m["code_version"], m["run_id"],
         m["origins"], commit.timestamp, next(whole, None))
        for key, p in m["partitions"].items()
    ]  # fmt: skip
