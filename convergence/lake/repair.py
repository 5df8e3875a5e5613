"""What is damaged is restored, and nothing but what is on record is ever put back.

Rows count only if they have the content hash of the partition as it is recorded now. So rows of a data subject who was
erased since cannot come back, whatever an older file still holds.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from convergence.errors import LakeError, TableMissing
from convergence.lake import acknowledged
from convergence.lake.content_hash import content_hash
from convergence.lake.data_files import data_files
from convergence.lake.inventory import tables
from convergence.lake.maintenance import rebuild_manifests
from convergence.lake.manifests import MANIFESTS, record, states
from convergence.lake.tables import Lake, rows_of
from convergence.lake.verification import UNREADABLE, file_damage

_OF_ONE_COMMIT = ("offsets", "lost", "left_out", "erased", "replaced")  # what a manifest says of that commit alone


class GoneBack(NamedTuple):
    """A table that has lost commits and is as of `version` again; what they held has to be made again."""

    version: int
    partitions: list[str]
    erasure: bool  # one of them was an erasure: it has to be asked for again


def restore_from_former(lake: Lake, table: str, partition: str) -> int | None:
    """Restore a partition from the newest older version that holds it unharmed; that version, None where none does.

    Raises TableMissing if it was never written.
    """
    now, state = lake.open(table), states(lake, [table])[table].get(partition)
    if now is None or state is None:
        raise TableMissing(f"{table} {partition or '(whole table)'} was never written: there is nothing to restore")
    tried = set()
    for version in range(now.version() - 1, state.version - 1, -1):
        handle = lake.open(table, version)
        assert handle
        files = frozenset(file for file in data_files(handle) if file.partition == partition)
        if files in tried:
            continue
        tried.add(files)
        if any(file_damage(lake, table, file) for file in files):
            continue
        try:
            rows = rows_of(handle, [partition] if partition else None).collect()
        except UNREADABLE:
            continue
        if content_hash(rows) == state.content_hash:
            put_back(lake, table, partition, rows, f"version {version}")
            return version
    return None


def put_back(lake: Lake, table: str, partition: str, rows: pl.DataFrame, source: str) -> None:
    """Commit rows that are those on record, with the manifest of before and where they came from.

    Raises LakeError if they are others.
    """
    base, state = lake.open(table), states(lake, [table])[table][partition]
    if content_hash(rows) != state.content_hash:
        raise LakeError(f"{source}: other rows than are on record; materialize {table} {partition} again".rstrip())
    former = next(c.manifest for c in lake.commits(table, state.version - 1) if c.version == state.version)
    first = {"version": state.version, "mode": former["mode"]}
    made = {
        **{k: v for k, v in former.items() if k not in _OF_ONE_COMMIT},
        "mode": "replace",
        "partitions": {partition: {**former["partitions"][partition], "rows": state.rows, "hash": state.content_hash}},
        "repaired": {**first, **former.get("repaired", {}), "from": source, "at": datetime.now(UTC).isoformat()},
    }
    lake.replace(table, {partition: rows}, made, base)
    record(lake, [table])


def go_back(lake: Lake, table: str) -> GoneBack | None:
    """Let a table that has lost its newest commits be what it was before them; None where it can be opened.

    Damaged log entries and checkpoints are kept under another name. Raises LakeError where more than the end of the log
    is damaged: then only a backup helps.
    """
    try:
        lake.open(table)
    except LakeError as error:
        folder = lake.folder(table)
        version = acknowledged.go_back(folder) if folder else None
        if folder is None or version is None:
            raise LakeError(
                f"{table}: more than the end of its log is gone; restore its folder from a backup"
            ) from error
    else:
        return None
    for checkpoint in _useless_checkpoints(folder, version):
        acknowledged.set_aside(checkpoint)
    base = lake.open(MANIFESTS)
    if base is None or table == MANIFESTS:
        return GoneBack(version, [], erasure=False)
    mine = (pl.col("table") == lake.location(table)) & (pl.col("version") > version)
    lost = rows_of(base).filter(mine).select("partition", "manifest").collect()
    rebuild_manifests(lake, [table])
    erasure = any("erasure" in json.loads(text) for text in lost["manifest"].drop_nulls())
    return GoneBack(version, sorted(set(lost["partition"])), erasure)


def remake_manifests(lake: Lake) -> int:
    """Collect the table of manifests anew and keep the former folder beside it; returns how many tables it covers."""
    folder = lake.folder(MANIFESTS)
    if folder is None:
        raise LakeError(f"{MANIFESTS} lies in a bucket: move its folder away, and it is collected anew by whoever asks")
    folder.rename(folder.with_name(f"{MANIFESTS}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S}"))
    there = [table for table in tables(lake) if table != MANIFESTS]
    record(lake, there)
    return len(there)


def _useless_checkpoints(folder: Path, version: int) -> list[Path]:
    """Checkpoints that are damaged or of a later version; with them what points to the newest."""
    log = folder / "_delta_log"
    found = [p for p in log.glob("*.checkpoint.parquet") if int(p.name[:20]) > version or not _is_readable(p)]
    return [*found, *(p for p in [log / "_last_checkpoint"] if found and p.exists())]


def _is_readable(checkpoint: Path) -> bool:
    try:
        pl.read_parquet(checkpoint)
    except UNREADABLE:
        return False
    return True
