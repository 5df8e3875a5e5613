"""The data files of a table: how one is written, and which there are."""

import io
import time
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import obstore
import polars as pl
from deltalake import DeltaTable
from deltalake.transaction import AddAction, RemoveAction
from obstore.store import ObjectStore

from convergence.lake import durable
from convergence.lake.checksums import name_of
from convergence.lake.files import DAY, WHOLE, partition_values, statistics


class DataFile(NamedTuple):
    """A data file of a table's version."""

    path: str  # below the table
    size: int
    partition: str


def data_files(handle: DeltaTable) -> list[DataFile]:
    """The data files of an opened table."""
    files = pl.DataFrame(handle.get_add_actions(flatten=True))
    column = f"partition.{DAY}"
    day = pl.col(column).cast(pl.String) if column in files.columns else pl.lit(WHOLE)
    return [DataFile(unquote(p), size, d or WHOLE) for p, size, d in files.select("path", "size_bytes", day).rows()]


def removals(handle: DeltaTable, keys: Collection[str]) -> list[RemoveAction]:
    """What takes the files of these partitions out of a table."""
    held, now = [file for file in data_files(handle) if file.partition in keys], int(time.time() * 1000)
    return [RemoveAction(f.path, True, now, f.size, {DAY: f.partition} if f.partition else {}) for f in held]


def write_file(
    store: ObjectStore, location: str, folder: Path | None, table: str, key: str, frame: pl.DataFrame
) -> AddAction | None:
    """Write a partition's rows below `location` of the store, where `folder` is, so that they outlive a power cut.

    Returns what takes the file into the table; None for no rows.
    """
    values = partition_values(table, key, frame)
    if frame.is_empty():
        return None
    body, buffer = frame.drop(values), io.BytesIO()
    body.write_parquet(buffer, compression="zstd", compression_level=1)
    content = buffer.getbuffer()
    path = "".join(f"{column}={value}/" for column, value in values.items()) + name_of(content)
    obstore.put(store, f"{location}/{path}", content)
    if folder:
        durable.settle_below((folder / path).parent, folder / path)
    now = int(time.time() * 1000)
    return AddAction(path, content.nbytes, values, now, True, statistics(body))  # pyright: ignore[reportArgumentType]
