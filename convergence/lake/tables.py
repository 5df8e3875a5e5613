"""The lake: Delta tables in a folder or a bucket, written so that a commit replaces exactly its partitions or nothing.

Polars writes the Parquet files and delta-rs commits them in one transaction. Every replaced partition carries an
application transaction of its own, so two writers conflict only when they write the same partition.
"""

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import obstore
import polars as pl
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction
from obstore.store import ObjectStore

from convergence.errors import ConcurrentWrite, LakeError, SchemaConflict, TableMissing
from convergence.faults import fault
from convergence.lake import acknowledged, durable
from convergence.lake.data_files import removals, write_file
from convergence.lake.files import DAY, WHOLE, by_day, delta_schema, merged
from convergence.lake.generations import FIRST, Generations, current, location
from convergence.lake.local_table import LocalTable
from convergence.lake.store import open_store

ERASURE = "erasure"  # application id: its version is the newest erasure that looked through the table
_ATTEMPTS = 8  # of a commit that lost a race against other partitions
NO_VALUES = {"delta.dataSkippingNumIndexedCols": "0"}  # what delta-rs writes itself, merged files, has no statistics
_CONFIGURATION = NO_VALUES | {
    # Delta drops old log entries at a checkpoint after 30 days: the manifests live there, so they must stay
    "delta.enableExpiredLogCleanup": "false",
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.checkpointInterval": "100",
}


@dataclass(frozen=True)
class Commit:
    """One entry of a table's log that carries a manifest."""

    version: int
    timestamp: datetime
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Lake:
    """Delta tables under one root: a local folder, or an S3-compatible URL with delta-rs `storage_options`.

    It sees one consistent set of generations for as long as it lives: those of `pinned`, or those that counted when
    it first needed them. Whoever works on for ever asks `newest()` now and then.
    """

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict)
    pinned: Generations | None = None
    home: str | None = None  # where its secrets lie; None: beside its folder
    reading: bool = False  # nothing is written, not even what reading would bring up to date

    @cached_property
    def generations(self) -> Generations:
        """The tables that are not in their first generation."""
        return current(self.store) if self.pinned is None else self.pinned

    def at(self, generations: Generations) -> "Lake":
        """This lake with these tables in other generations."""
        return replace(self, pinned={**self.generations, **generations})

    def newest(self) -> "Lake":
        """The lake with the generations that count now; itself, with what it has cached, if nothing was switched."""
        now = replace(self, pinned=None)
        return self if now.generations == self.generations else now

    def generation(self, table: str) -> int:
        """The generation that a table is read from and written to."""
        return self.generations.get(table, FIRST)

    def location(self, table: str) -> str:
        """The folder of a table below the root. Raises InvalidName for a name that could leave the root."""
        return location(table, self.generation(table))

    def uri(self, table: str) -> str:
        """Where a table lies, as delta-rs names it."""
        return f"{self.root}/{self.location(table)}"

    def folder(self, table: str) -> Path | None:
        """The folder of a table; None where it lies in a bucket."""
        return None if "://" in self.root else Path(self.uri(table))

    @cached_property
    def store(self) -> ObjectStore:
        """The files of the lake, for what is below Delta: data files and log entries."""
        return open_store(self.root, self.storage_options, reading=self.reading)

    def open(self, table: str, version: int | None = None) -> DeltaTable | None:
        """The table as it is now, or as of `version`; None only where it provably does not exist."""
        folder = self.folder(table)
        known = acknowledged.newest(folder) if folder and version is None else None  # before: others may commit
        try:
            fault("open")
            handle = (LocalTable if folder else DeltaTable)(
                self.uri(table), version=version, storage_options=dict(self.storage_options)
            )
        except (DeltaError, OSError, OverflowError) as error:
            if version is not None:
                raise LakeError(
                    f"{table} cannot be opened at version {version}: it may never have been written"
                    f" ({type(error).__name__}); `convergence manifest {table}` shows the newest"
                ) from error
            if folder:
                acknowledged.refuse_loss(table, folder, None, known)
            if isinstance(error, TableNotFoundError):
                return None
            raise LakeError(f"{table} cannot be opened ({type(error).__name__}); nothing was changed") from error
        if folder and version is None:
            acknowledged.refuse_loss(table, folder, handle.version(), known)
        return handle

    def scan(self, table: str, days: Sequence[str] | None = None, version: int | None = None) -> pl.LazyFrame:
        """The rows of some days, or all, at one version. Raises TableMissing."""
        handle = self.open(table, version)
        if handle is None:
            raise TableMissing(f"{table} has never been written: materialize {table} first")
        return rows_of(handle, days)

    def replace(
        self,
        table: str,
        partitions: Mapping[str, pl.DataFrame],
        manifest: Mapping[str, Any],
        base: DeltaTable | None,
        consumed: Mapping[str, int] = MappingProxyType({}),
    ) -> dict[str, int]:
        """Replace exactly these partitions in one commit, which may also record what was `consumed`, as in `append`.

        `base` is the table as it was when the work began (None: it did not exist). Raises ConcurrentWrite when one
        of them was committed by somebody else since; races with others are retried. Returns the bytes of each.
        """
        schemas = {f"{delta_schema(table, frame)}": frame for frame in partitions.values()}
        if len(schemas) != 1 or (WHOLE in partitions and len(partitions) > 1):
            raise SchemaConflict(
                f"{table}: {len(partitions)} partitions with {len(schemas)} different schemas; "
                "one commit takes partitions of one schema, at least one, either days or the whole table"
            )
        revisions = {app: base and base.transaction_version(app) for app in (*map(_revision, partitions), ERASURE)}
        seen = {r.path for r in removals(base, partitions)} if base else set()
        adds = self._write_files(table, partitions)

        def actions(handle: DeltaTable) -> list[AddAction | RemoveAction]:
            gone = removals(handle, partitions)
            if appended := {r.path for r in gone} - seen:
                raise ConcurrentWrite(
                    f"{table} {', '.join(partitions)}: {len(appended)} files changed while you were writing; your rows "
                    "were not committed. Run it again: it will read what is there now."
                )
            return [*gone, *adds]

        (frame,) = schemas.values()
        after = {_revision(key): (revisions[_revision(key)] or 0) + 1 for key in partitions} | dict(consumed)
        self._transact(table, base, frame, manifest, actions, revisions, after, dated=WHOLE not in partitions)
        return {str(add.partition_values.get(DAY, WHOLE)): add.size for add in adds}

    def append(
        self,
        table: str,
        frame: pl.DataFrame,
        manifest: Mapping[str, Any],
        consumed: Mapping[str, int],
        base: DeltaTable | None,
        *,
        dated: bool,
    ) -> None:
        """Add rows and record what was consumed (application id -> version) in the same commit.

        Raises ConcurrentWrite if any of these application ids was committed since `base`: check again, then retry.
        """
        adds = self._write_files(table, by_day(frame) if dated else {WHOLE: frame})
        before = {app: base and base.transaction_version(app) for app in (*consumed, ERASURE)}
        self._transact(table, base, frame, manifest, lambda _: adds, before, consumed, dated=dated)

    def _transact(
        self,
        table: str,
        base: DeltaTable | None,
        frame: pl.DataFrame,
        manifest: Mapping[str, Any],
        actions: Callable[[DeltaTable], Sequence[AddAction | RemoveAction]],
        before: Mapping[str, int | None],
        after: Mapping[str, int],
        *,
        dated: bool,
    ) -> None:
        """Commit if every application id still stands where it stood; delta-rs makes check and commit one step."""
        schema, by = delta_schema(table, frame), [DAY] if dated else []
        handle = base or self._create(table, merged(table, Schema([]), schema), by)
        if handle.metadata().partition_columns != by:
            cut, others = ("the whole table", "days") if dated else ("days", "the whole table")
            raise LakeError(f"{table} is written as {cut}, not as {others}: give these rows a table of their own")
        for attempt in range(_ATTEMPTS):
            columns = merged(table, handle.schema(), schema)
            try:
                if new := columns.fields[len(handle.schema().fields) :]:  # a commit cannot bring columns along
                    handle.alter.add_columns(new, commit_properties=CommitProperties(max_commit_retries=0))
                lost = [app for app, at in before.items() if handle.transaction_version(app) != at]
                if lost:
                    raise ConcurrentWrite(
                        f"{table} {', '.join(app.removeprefix(_revision('')) for app in lost)} changed while you were "
                        "writing; your rows were not committed. Run it again: it will read what is there now."
                    )
                fault("files_written")
                handle.create_write_transaction(
                    list(actions(handle)),
                    mode="append",  # what is replaced is named file by file, so nothing else can go
                    schema=columns,
                    partition_by=by,
                    commit_properties=CommitProperties(
                        custom_metadata={"manifest": json.dumps(manifest)},
                        max_commit_retries=0,
                        app_transactions=[Transaction(*entry) for entry in after.items()],
                    ),
                    post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
                )
                self.acknowledge(table, handle.version() + 1)  # the handle stays where it is, and no other was first
                return fault("after_commit")
            except CommitFailedError:  # somebody was faster: look again at what changed
                time.sleep(random.uniform(0, 0.02) * 2**attempt)
                handle.update_incremental()
        raise ConcurrentWrite(f"{table}: {_ATTEMPTS} commits in a row lost against other writers; run it again")

    def commits(self, table: str, after: int = -1) -> Iterator[Commit]:
        """The log entries with a manifest later than version `after`, oldest first."""
        log = f"{self.location(table)}/_delta_log/"
        entries = [
            meta["path"]
            for batch in obstore.list(self.store, prefix=log, offset=f"{log}{max(after, -1) + 1:020}")
            for meta in batch
            if re.fullmatch(r"\d{20}\.json", meta["path"].removeprefix(log))
        ]
        for path in sorted(entries):
            version = int(path[-25:-5])
            try:
                for line in bytes(obstore.get(self.store, path).bytes()).splitlines():
                    if line.startswith(b'{"commitInfo"') and "manifest" in (info := json.loads(line)["commitInfo"]):
                        at = datetime.fromtimestamp(info["timestamp"] / 1000).astimezone()
                        yield Commit(version, at, json.loads(info["manifest"]))
            except ValueError as error:
                raise LakeError(f"{path} is damaged ({type(error).__name__}); `convergence verify {table}`") from error

    def acknowledge(self, table: str, version: int) -> None:
        """Wait until the commits up to `version` would outlive a power cut; from then on their loss is noticed."""
        if folder := self.folder(table):
            acknowledged.acknowledge(folder, version)

    def _create(self, table: str, schema: Schema, by: list[str]) -> DeltaTable:
        if folder := self.folder(table):
            folder.mkdir(parents=True, exist_ok=True)
            durable.settle_below(Path(self.root), folder)
        for attempt in range(_ATTEMPTS):
            try:
                return DeltaTable.create(
                    self.uri(table),
                    schema=schema,
                    mode="ignore",  # another writer may have been first: its table is opened, never replaced
                    partition_by=by,
                    configuration=_CONFIGURATION,
                    storage_options=dict(self.storage_options),
                )
            except CommitFailedError:  # it was first by a moment
                time.sleep(random.uniform(0, 0.02) * 2**attempt)
        raise ConcurrentWrite(f"{table}: {_ATTEMPTS} writers in a row were creating it; run it again")

    def _write_files(self, table: str, partitions: Mapping[str, pl.DataFrame]) -> list[AddAction]:
        store, place, folder = self.store, self.location(table), self.folder(table)
        with ThreadPoolExecutor(max_workers=2) as pool:
            adds = pool.map(lambda item: write_file(store, place, folder, table, *item), partitions.items())
            written = [add for add in adds if add]
        if folder and written:
            durable.settle(folder)
        return written


def rows_of(handle: DeltaTable, days: Sequence[str] | None = None) -> pl.LazyFrame:
    """The rows of an opened table, of some days or all: reads only the files of those days."""
    frame = pl.scan_delta(handle)
    return frame if days is None else frame.filter(pl.col(DAY).is_in([date.fromisoformat(d) for d in days]))


def _revision(key: str) -> str:
    return f"partition/{key}"
