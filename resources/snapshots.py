"""Inputs of a lake asset: each table is opened once, so rows and content hashes belong to the same version."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
import polars as pl
from deltalake import DeltaTable

from convergence.errors import ConcurrentWrite, TableMissing
from convergence.lake.erasures import newest
from convergence.lake.generations import FIRST
from convergence.lake.manifests import InputRead, Provenance, states
from convergence.lake.tables import ERASURE, WHOLE, Lake, rows_of
from convergence.lake.verification import refuse_damaged


@dataclass(frozen=True)
class Snapshot:
    """An input as it was read: its rows, its version, the content hash of each partition, and when that was."""

    rows: pl.LazyFrame
    read: InputRead
    origins: Sequence[str]
    partitions_def: dg.PartitionsDefinition | None
    began: int  # nanoseconds since 1970
    ended: int
    erasure: int = 0  # the newest that had looked through the table

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        return self.rows.collect_schema().names()


def read_snapshot(
    lake: Lake,
    table: str,
    days: Sequence[str] | None,
    partitions_def: dg.PartitionsDefinition | None = None,
    *,
    check: bool = True,
) -> Snapshot:
    """A table opened once: rows and content hashes belong to the same version.

    Raises TableMissing, and with `check` LakeError where a file's bytes are not what was written.
    """
    began = time.time_ns()
    handle = lake.open(table)
    if handle is None:
        raise TableMissing(f"{table} has never been written: materialize {table} first")
    if check:
        refuse_damaged(lake, table, handle, days)
    held = states(lake, [table], {table: handle.version()})[table]
    hashes = {k: held[k].content_hash for k in ([WHOLE] if days is None else days) if k in held}
    if days is None and WHOLE not in held:
        hashes = {k: s.content_hash for k, s in sorted(held.items())}
    origins = sorted({o for k in hashes for o in held[k].origins})
    read = InputRead(handle.version(), hashes, lake.generation(table))
    erasure = handle.transaction_version(ERASURE) or 0
    return Snapshot(rows_of(handle, days), read, origins, partitions_def, began, time.time_ns(), erasure)


def refuse_erased(lake: Lake, inputs: Mapping[str, InputRead], erasures: Mapping[str, int]) -> None:
    """Raise ConcurrentWrite if an input was erased from after it was read, as of these erasures: rows might come back.

    Whatever is written after this has passed and before the erasure reaches the written table is found there by it.
    """
    if not newest(lake):
        return
    for table, read in inputs.items():
        handle = lake.at({table: read.generation}).open(table)
        if handle is not None and (handle.transaction_version(ERASURE) or 0) != erasures[table]:
            raise ConcurrentWrite(f"a data subject was erased from {table} after this run had read it. Run it again.")


def base_of(
    lake: Lake, table: str, keys: Sequence[str], provenance: Provenance, erasures: Mapping[str, int]
) -> DeltaTable | None:
    """A table before partitions of it are written. Raises ConcurrentWrite if they were made from newer inputs."""
    refuse_erased(lake, provenance.inputs, erasures)
    base = lake.open(table)
    newest = next(lake.commits(table, base.version() - 1), None) if base else None
    if newest and not newest.manifest["partitions"].keys().isdisjoint(keys):
        for up, read in newest.manifest["inputs"].items():
            if up in provenance.inputs and _is_newer(lake, up, read, provenance.inputs[up]):
                raise ConcurrentWrite(f"{table} was made from a newer {up} after this run had read it. Run it again.")
    return base


def _is_newer(lake: Lake, table: str, read: Mapping[str, Any], mine: InputRead) -> bool:
    if read.get("generation", FIRST) == mine.generation:
        return read["version"] > mine.version
    return lake.newest().generation(table) != mine.generation  # it was switched after this run had read it
