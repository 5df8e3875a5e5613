"""Inputs of a lake asset: each table is opened once, so rows and content hashes belong to the same version."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg
import polars as pl

from convergence.errors import TableMissing
from convergence.lake.manifests import InputRead, states
from convergence.lake.tables import WHOLE, Lake, rows_of


@dataclass(frozen=True)
class Snapshot:
    """An input as it was read: its rows, its version, the content hash of each partition, and when that was."""

    rows: pl.LazyFrame
    read: InputRead
    origins: Sequence[str]
    partitions_def: dg.PartitionsDefinition | None
    began: int  # nanoseconds since 1970
    ended: int


def read_snapshot(
    lake: Lake, table: str, days: Sequence[str] | None, partitions_def: dg.PartitionsDefinition | None = None
) -> Snapshot:
    """A table opened once: rows and content hashes belong to the same version. Raises TableMissing."""
    began = time.time_ns()
    handle = lake.open(table)
    if handle is None:
        raise TableMissing(f"{table} has never been written: materialize {table} first")
    held = states(lake, [table], {table: handle.version()})[table]
    hashes = {k: held[k].content_hash for k in ([WHOLE] if days is None else days) if k in held}
    if days is None and WHOLE not in held:
        hashes = {k: s.content_hash for k, s in sorted(held.items())}
    origins = sorted({o for k in hashes for o in held[k].origins})
    read = InputRead(handle.version(), hashes, lake.generation(table))
    return Snapshot(rows_of(handle, days), read, origins, partitions_def, began, time.time_ns())
