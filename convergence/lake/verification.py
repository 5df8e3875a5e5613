"""Whether what is stored is what was written: files, rows and the log, held against checksums and manifests."""

import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import obstore
import polars as pl
from deltalake import DeltaTable
from obstore.exceptions import BaseError

from convergence.errors import LakeError, TableMissing
from convergence.lake import acknowledged
from convergence.lake.checksums import is_changed
from convergence.lake.content_hash import content_hash
from convergence.lake.data_files import DataFile, data_files
from convergence.lake.inventory import tables
from convergence.lake.manifests import MANIFESTS, collect, log_of, states
from convergence.lake.tables import WHOLE, Lake, rows_of

UNREADABLE = (OSError, BaseError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


class Damage(NamedTuple):
    """Something that is not as it was written."""

    table: str
    partition: str | None  # None: it is about the table's log
    version: int  # of the table, that wrote it
    what: str

    def __str__(self) -> str:
        return f"{self.table}{f'@{self.partition}' if self.partition else ''} version {self.version}: {self.what}"


@dataclass
class Verified:
    """What was looked at, and what is wrong."""

    partitions: int = 0
    rows: int = 0
    seconds: float = 0.0
    damages: list[Damage] = field(default_factory=list)


def verify(lake: Lake, table: str, partitions: Collection[str] | None = None) -> Verified:
    """Read a table, or some of its partitions, and hold it against what is on record.

    Raises LakeError for a partition that was never written.
    """
    began = time.perf_counter()
    while True:
        try:
            handle = lake.open(table)
        except LakeError as error:
            return Verified(damages=[Damage(table, None, 0, str(error))])
        if handle is None:
            raise TableMissing(f"{table} has never been written: there is nothing to verify")
        found = Verified(damages=[Damage(table, None, *each) for each in _log(lake, table)])
        if table == MANIFESTS:
            found.damages += _manifests(lake, handle)
        else:
            found.damages += _lost(lake, table, handle.version())
            _partitions(lake, table, handle, partitions, found)
        if not found.damages or not _has_moved(lake, table, handle):
            found.seconds = time.perf_counter() - began
            return found


def refuse_damaged(lake: Lake, table: str, handle: DeltaTable, days: Sequence[str] | None) -> None:
    """Raise LakeError if a file of these days is not as it was written; a bucket sees to that itself."""
    if not lake.folder(table):
        return
    wanted = None if days is None else set(days)
    for file in data_files(handle):
        if (wanted is None or file.partition in wanted) and (what := file_damage(lake, table, file)):
            named = f"{table}@{file.partition}" if file.partition else table
            raise LakeError(f"{named} version {handle.version()}: {what}; `convergence repair {named}` restores it")


def _partitions(lake: Lake, table: str, handle: DeltaTable, days: Collection[str] | None, found: Verified) -> None:
    held = states(lake, [table], {table: handle.version()})[table]
    if never := sorted(set(days or ()) - held.keys()):
        raise LakeError(f"{table}@{never[0]} was never written; `convergence verify {table}` looks at all there is")
    files: dict[str, list[DataFile]] = {}
    for file in data_files(handle):
        files.setdefault(file.partition, []).append(file)

    def judged(key: str) -> tuple[int, list[Damage]]:
        mine, state = files.get(key, []), held.get(key)
        version = state.version if state else handle.version()
        harmed = [what for file in mine if (what := file_damage(lake, table, file))]
        if harmed:
            return 0, [Damage(table, key, version, what) for what in harmed]
        named = f"file{'s' if len(mine) > 1 else ''} {', '.join(file.path for file in mine) or 'none'}"
        try:
            rows = rows_of(handle, [key] if key else None).collect()
        except UNREADABLE as error:
            return 0, [Damage(table, key, version, f"its rows cannot be read ({type(error).__name__}), {named}")]
        if state is None:
            return rows.height, [Damage(table, key, version, f"no manifest knows its {rows.height:,} rows, {named}")]
        if content_hash(rows) == state.content_hash:
            return rows.height, []
        what = (
            f"holds {rows.height:,} rows, its manifest {state.rows:,}"
            if rows.height != state.rows
            else "its rows are not those of its manifest"
        )
        return rows.height, [Damage(table, key, version, f"{what}, {named}")]

    keys = sorted({*held, *files} if days is None else days)
    with ThreadPoolExecutor(max_workers=2) as pool:
        for rows, damages in pool.map(judged, keys):
            found.partitions += 1
            found.rows += rows
            found.damages += damages


def _manifests(lake: Lake, handle: DeltaTable) -> Iterator[Damage]:
    """What the table of manifests says otherwise than the logs that it was collected from."""
    for file in data_files(handle):
        if what := file_damage(lake, MANIFESTS, file):
            yield Damage(MANIFESTS, WHOLE, handle.version(), what)
            return
    names = {lake.location(table): table for table in tables(lake) if table != MANIFESTS}
    known = {place: handle.transaction_version(log_of(lake, table)) for place, table in names.items()}
    try:
        stored = rows_of(handle).collect()
    except UNREADABLE as error:
        yield Damage(MANIFESTS, WHOLE, handle.version(), f"its rows cannot be read ({type(error).__name__})")
        return
    for place, version in known.items():
        try:
            logged, _ = collect(lake, {names[place]: -1})
        except LakeError:
            continue  # which is told of that table
        mine = (pl.col("table") == place) & (pl.col("version") <= (-1 if version is None else version))
        if content_hash(logged.filter(mine)) != content_hash(stored.filter(mine).select(logged.columns)):
            yield Damage(MANIFESTS, WHOLE, handle.version(), f"says of {place} what its log does not say")


def _log(lake: Lake, table: str) -> Iterator[tuple[int, str]]:
    folder = lake.folder(table)
    return acknowledged.changed(folder) if folder else iter(())


def _has_moved(lake: Lake, table: str, handle: DeltaTable) -> bool:
    """Whether a table was committed to meanwhile: what was missing may have been replaced."""
    now = lake.open(table)
    return now is None or now.version() != handle.version()


def _lost(lake: Lake, table: str, version: int) -> Iterator[Damage]:
    """A commit that was collected and is no longer there: how it shows where there is no folder to keep a note in."""
    base = lake.open(MANIFESTS)
    known = base.transaction_version(log_of(lake, table)) if base else None
    if known is not None and known > version:
        yield Damage(table, None, version, f"version {known} is on record and its log ends before it")


def file_damage(lake: Lake, table: str, file: DataFile) -> str | None:
    """What is wrong with a file as bytes, in words."""
    folder = lake.folder(table)
    if folder is None:
        try:
            size = obstore.head(lake.store, f"{lake.location(table)}/{file.path}")["size"]
        except (BaseError, FileNotFoundError):
            return f"file {file.path} is missing"
        return f"file {file.path} has {size} bytes, its log entry says {file.size}" if size != file.size else None
    path = folder / file.path
    try:
        if (size := path.stat().st_size) != file.size:
            return f"file {file.path} has {size} bytes, its log entry says {file.size}"
        return f"file {file.path} does not hold the bytes that were written" if is_changed(folder, file.path) else None
    except FileNotFoundError:
        return f"file {file.path} is missing"
    except OSError as error:
        return f"file {file.path} cannot be read ({type(error).__name__})"
