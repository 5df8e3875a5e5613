"""The lake: Delta tables in a folder or a bucket, written so that a commit replaces exactly its partitions or nothing.

Polars writes the Parquet files and delta-rs commits them in one transaction. Every replaced partition carries an
application transaction of its own, so two writers conflict only when they write the same partition.
"""

import io
import json
import random
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import obstore
import polars as pl
from arro3.core import Table as ArrowTable
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction
from obstore.store import ObjectStore, from_url

from convergence.errors import ConcurrentWrite, InvalidName, LakeError, SchemaConflict, TableMissing

DAY = "event_date"  # the partition column of every dated table
WHOLE = ""  # the one partition of a table without dates

_TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]*(/[a-z_][a-z0-9_]*)*")
_ATTEMPTS = 8  # of a commit that lost a race against other partitions
_CONFIGURATION = {
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
    """Delta tables under one root: a local folder, or an S3-compatible URL with delta-rs `storage_options`."""

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    def uri(self, table: str) -> str:
        """Where a table lies. Raises InvalidName for a name that could leave the root."""
        if not _TABLE_NAME.fullmatch(table):
            raise InvalidName(f"table {table!r}: expected lower-case words joined by '/', e.g. fraud/transactions")
        return f"{self.root}/{table}"

    @cached_property
    def store(self) -> ObjectStore:
        """The files of the lake, for what is below Delta: data files and log entries."""
        if "://" not in self.root:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            return from_url(Path(self.root).resolve().as_uri())
        config = {k.lower(): v for k, v in self.storage_options.items() if k.lower() not in ("aws_allow_http",)}
        http = self.storage_options.get("AWS_ALLOW_HTTP") == "true"
        return from_url(self.root, config=config, client_options={"allow_http": http})  # pyright: ignore[reportArgumentType, reportCallIssue]

    def open(self, table: str, version: int | None = None) -> DeltaTable | None:
        """The table as it is now, or as of `version`; None only where it provably does not exist."""
        try:
            return DeltaTable(self.uri(table), version=version, storage_options=dict(self.storage_options))
        except TableNotFoundError:
            if version is not None:
                raise LakeError(
                    f"{table} has no version {version}: `convergence manifest {table}` lists them"
                ) from None
            return None
        except OSError as error:
            raise LakeError(f"{table} cannot be opened ({type(error).__name__}); nothing was changed") from error

    def scan(self, table: str, days: Sequence[str] | None = None, version: int | None = None) -> pl.LazyFrame:
        """The rows of some days, or all, at one version. Raises TableMissing."""
        handle = self.open(table, version)
        if handle is None:
            raise TableMissing(f"{table} has never been written: materialize {table} first")
        return rows_of(handle, days)

    def replace(
        self, table: str, partitions: Mapping[str, pl.DataFrame], manifest: Mapping[str, Any], base: DeltaTable | None
    ) -> None:
        """Replace exactly these partitions in one commit.

        `base` is the table as it was when the work began (None: it did not exist). Raises ConcurrentWrite when one
        of the partitions was committed by somebody else since; races with other partitions are retried.
        """
        adds = self._write_files(table, partitions)
        revisions = {_revision(key): base and base.transaction_version(_revision(key)) for key in partitions}

        def actions(handle: DeltaTable) -> list[AddAction | RemoveAction]:
            return [*(r for key in partitions for r in _removals(handle, key)), *adds]

        frame, dated = next(iter(partitions.values())), WHOLE not in partitions
        after = {app: (revision or 0) + 1 for app, revision in revisions.items()}
        self._transact(table, base, frame, manifest, actions, revisions, after, dated=dated)

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
        before = {app: base and base.transaction_version(app) for app in consumed}
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
        handle = base or self._create(table, frame, dated=dated)
        for attempt in range(_ATTEMPTS):
            lost = [
                app.removeprefix(_revision("")) for app, at in before.items() if handle.transaction_version(app) != at
            ]
            if lost:
                raise ConcurrentWrite(
                    f"{table} {', '.join(lost)} changed while you were writing; your rows were not committed. "
                    "Run it again: it will read what is there now."
                )
            try:
                return handle.create_write_transaction(
                    list(actions(handle)),
                    mode="append",  # what is replaced is named file by file, so nothing else can go
                    schema=_merged(table, handle, _schema(frame)),
                    partition_by=handle.metadata().partition_columns,
                    commit_properties=CommitProperties(
                        custom_metadata={"manifest": json.dumps(manifest)},
                        max_commit_retries=0,
                        app_transactions=[Transaction(*entry) for entry in after.items()],
                    ),
                    post_commithook_properties=PostCommitHookProperties(cleanup_expired_logs=False),
                )
            except CommitFailedError:  # somebody was faster: look again at what changed
                time.sleep(random.uniform(0, 0.02) * 2**attempt)
                handle.update_incremental()
        raise ConcurrentWrite(f"{table}: {_ATTEMPTS} commits in a row lost against other writers; run it again")

    def commits(self, table: str, after: int = -1) -> Iterator[Commit]:
        """The log entries with a manifest later than version `after`, oldest first."""
        log = f"{table}/_delta_log/"
        self.uri(table)
        entries = [
            meta["path"]
            for batch in obstore.list(self.store, prefix=log, offset=f"{log}{max(after, -1) + 1:020}")
            for meta in batch
            if re.fullmatch(r"\d{20}\.json", meta["path"].removeprefix(log))
        ]
        for path in sorted(entries):
            version = int(path[-25:-5])
            for line in bytes(obstore.get(self.store, path).bytes()).splitlines():
                if line.startswith(b'{"commitInfo"') and "manifest" in (info := json.loads(line)["commitInfo"]):
                    at = datetime.fromtimestamp(info["timestamp"] / 1000).astimezone()
                    yield Commit(version, at, json.loads(info["manifest"]))

    def _create(self, table: str, frame: pl.DataFrame, *, dated: bool) -> DeltaTable:
        if "://" not in self.root:
            Path(self.uri(table)).mkdir(parents=True, exist_ok=True)
        return DeltaTable.create(
            self.uri(table),
            schema=_schema(frame),
            mode="ignore",  # another writer may have been first: its table is opened, never replaced
            partition_by=[DAY] if dated else None,
            configuration=_CONFIGURATION,
            storage_options=dict(self.storage_options),
        )

    def _write_files(self, table: str, partitions: Mapping[str, pl.DataFrame]) -> list[AddAction]:
        self.uri(table)
        with ThreadPoolExecutor(max_workers=2) as pool:
            return [a for a in pool.map(lambda item: self._write_file(table, *item), partitions.items()) if a]

    def _write_file(self, table: str, key: str, frame: pl.DataFrame) -> AddAction | None:
        values = _partition_values(table, key, frame)
        if frame.is_empty():
            return None
        body = frame.drop(values)
        path = "".join(f"{column}={value}/" for column, value in values.items()) + f"{uuid.uuid4()}.parquet"
        buffer = io.BytesIO()
        body.write_parquet(buffer, compression="zstd", compression_level=1)
        obstore.put(self.store, f"{table}/{path}", buffer.getbuffer())
        size, now = buffer.getbuffer().nbytes, int(time.time() * 1000)
        return AddAction(path, size, values, now, True, _statistics(body))  # pyright: ignore[reportArgumentType]


def rows_of(handle: DeltaTable, days: Sequence[str] | None = None) -> pl.LazyFrame:
    """The rows of an opened table, of some days or all: reads only the files of those days."""
    frame = pl.scan_delta(handle)
    return frame if days is None else frame.filter(pl.col(DAY).is_in([date.fromisoformat(d) for d in days]))


def by_day(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """A frame cut into the days of its `event_date`, in order."""
    parts = frame.partition_by(DAY, as_dict=True, maintain_order=True)
    return {str(day): part for (day,), part in sorted(parts.items())}


def _revision(key: str) -> str:
    return f"partition/{key}"


def _removals(handle: DeltaTable, key: str) -> list[RemoveAction]:
    files = pl.DataFrame(handle.get_add_actions(flatten=True))
    if key != WHOLE:
        files = files.filter(pl.col(f"partition.{DAY}").cast(pl.String) == key)
    now = int(time.time() * 1000)
    values: dict[str, str | None] = {DAY: key} if key != WHOLE else {}
    return [RemoveAction(p, True, now, size, values) for p, size in files.select("path", "size_bytes").iter_rows()]


def _partition_values(table: str, key: str, frame: pl.DataFrame) -> dict[str, str]:
    if key == WHOLE:
        return {}
    try:
        day = date.fromisoformat(key)
    except ValueError:
        day = None
    if day is None or key != day.isoformat():
        raise InvalidName(f"{table}: partition {key[:40]!r} is not a date like 2018-08-01")
    strangers = frame.filter(pl.col(DAY).ne_missing(day)).height
    if strangers:
        raise LakeError(f"{table} {key}: {strangers} of {frame.height} rows have another {DAY}; nothing was written")
    return {DAY: key}


def _schema(frame: pl.DataFrame) -> Schema:
    untyped = [name for name, kind in frame.schema.items() if kind == pl.Null]
    if untyped:
        raise SchemaConflict(f"column {', '.join(untyped)} has no type: cast it, even where every value is null")
    return Schema.from_arrow(ArrowTable.from_arrow(frame.head(0)).schema)


def _merged(table: str, handle: DeltaTable, schema: Schema) -> Schema:
    """The table's columns and then the new ones; a column may appear, it may not change its type."""
    known = {f.name: f for f in handle.schema().fields}
    for column in schema.fields:
        there = known.setdefault(column.name, column)
        if there.type != column.type:
            raise SchemaConflict(
                f"{table}.{column.name}: the table has {there.type}, the new "
                f"rows {column.type}. Cast it in the asset, or give the column a new name."
            )
    return Schema(list(known.values()))


def _statistics(frame: pl.DataFrame) -> str:
    """Delta's file statistics, by which a reader skips files."""
    columns = [n for n, d in frame.schema.items() if d.is_integer() or d in (pl.Datetime("us", "UTC"), pl.Date)]
    stats: dict[str, Any] = {"numRecords": frame.height}
    for name, extreme in (("minValues", pl.Expr.min), ("maxValues", pl.Expr.max)):
        row = frame.select(extreme(pl.col(columns))).row(0, named=True) if columns else {}
        stats[name] = {c: _plain(v) for c, v in row.items() if v is not None}
    return json.dumps(stats)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat() if isinstance(value, date) else value
