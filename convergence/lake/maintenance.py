"""Housekeeping that changes no row and no state: fewer files, none that nothing refers to, manifests collected anew."""

import re
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import obstore
import polars as pl
from deltalake import PostCommitHookProperties, WriterProperties
from deltalake.exceptions import CommitFailedError

from convergence.errors import ConcurrentWrite, LakeError, TableMissing
from convergence.lake import checksums, durable
from convergence.lake.data_files import data_files
from convergence.lake.manifests import MANIFESTS, collect, log_of
from convergence.lake.tables import NO_VALUES, WHOLE, Lake, rows_of

WEEK = timedelta(days=7)

_KEEP_LOG = PostCommitHookProperties(cleanup_expired_logs=False)
# By default a merged file is one group of a million rows, which one core reads alone, and its dictionaries grow larger
# than the values they stand for.
_READ_IN_PARALLEL = WriterProperties(
    compression="ZSTD", compression_level=1, max_row_group_size=2**17, dictionary_page_size_limit=2**17
)


def compact(lake: Lake, table: str) -> int:
    """Merge the small files of every partition; returns how many files fewer there are.

    Appends may go on meanwhile. Raises ConcurrentWrite when a partition was replaced meanwhile: nothing is lost then.
    """
    handle = lake.open(table)
    if handle is None:
        raise TableMissing(f"{table} has never been written: there is nothing to compact")
    try:
        if handle.metadata().configuration.items().isdisjoint(NO_VALUES.items()):  # a table of before this rule
            handle.alter.set_table_properties(NO_VALUES, post_commithook_properties=_KEEP_LOG)
        before = set(data_files(handle))
        done = handle.optimize.compact(post_commithook_properties=_KEEP_LOG, writer_properties=_READ_IN_PARALLEL)
    except CommitFailedError as error:
        raise ConcurrentWrite(f"{table} changed while it was compacted; nothing was changed. Run it again.") from error
    if done["numFilesRemoved"]:
        if folder := lake.folder(table):
            for file in set(data_files(handle)) - before:
                durable.settle_below(folder, folder / file.path)
                checksums.note(folder, file.path)
        handle.create_checkpoint()  # else whoever opens the table reads the log entry of every small file once more
        lake.acknowledge(table, handle.version())
    return done["numFilesRemoved"] - done["numFilesAdded"]


def vacuum(lake: Lake, table: str, keep_versions: Iterable[int] = (), retention: timedelta = WEEK) -> list[str]:
    """Delete the files that neither the newest version nor `keep_versions` need, and return their paths.

    Files younger than `retention` stay, among them those of a commit in the making: it must be longer than any write.
    Raises LakeError where other tables lie inside this one, for their files would look like leftovers.
    """
    handle = lake.open(table)
    if handle is None:
        raise TableMissing(f"{table} has never been written: there is nothing to vacuum")
    hours = int(retention.total_seconds() // 3600)
    keep = list(keep_versions)
    listed = handle.vacuum(hours, True, False, full=True, keep_versions=keep)
    folder = lake.location(table)
    there = {meta["path"] for batch in obstore.list(lake.store, prefix=f"{folder}/") for meta in batch}
    files = [file for file in listed if f"{folder}/{file}" in there]  # a file deleted once stays listed
    if inner := next((f for f in files if "/_delta_log/" in f"/{f}"), None):
        raise LakeError(
            f"{table} holds another table ({inner.split('/_delta_log/')[0]}), which must lie beside it: move it"
        )
    if files:
        handle.vacuum(hours, False, False, full=True, keep_versions=keep, post_commithook_properties=_KEEP_LOG)
    if place := lake.folder(table):
        checksums.forget_gone(place)
    return [*files, *_staged(lake, table, retention)]


def remove_former(lake: Lake, table: str, unwanted: Callable[[bytes], bool], *, every_version: bool) -> list[str]:
    """Delete, at once, the files that the newest version does not need and whose content is `unwanted`.

    With `every_version` those of every earlier version, whatever is in them. A file that no version ever had may be
    that of a commit in the making: `unwanted` must be true of none that may still be committed. Returns their paths.
    """
    handle = lake.open(table)
    if handle is None:
        raise TableMissing(f"{table} has never been written: there is nothing to remove")
    gone = handle.vacuum(0, False, False, post_commithook_properties=_KEEP_LOG) if every_version else []
    folder, needed = f"{lake.location(table)}/", {unquote(p) for p in pl.DataFrame(handle.get_add_actions())["path"]}
    there = [meta["path"].removeprefix(folder) for batch in obstore.list(lake.store, prefix=folder) for meta in batch]
    former = [file for file in there if file.endswith(".parquet") and "_delta_log/" not in file and file not in needed]
    for file in former:
        if unwanted(bytes(obstore.get(lake.store, f"{folder}{file}").bytes())):
            obstore.delete(lake.store, f"{folder}{file}")
            gone.append(file)
    return [*gone, *_staged(lake, table, timedelta(minutes=1))]


def _staged(lake: Lake, table: str, retention: timedelta) -> list[str]:
    """Delete what a writer leaves in a folder that dies inside a single file; Delta's own vacuum does not see it."""
    folder, before = Path(lake.uri(table)), time.time() - retention.total_seconds()
    if "://" in lake.root:
        return []
    staged = [f for f in folder.rglob("*#*") if re.search(r"#\d+$", f.name) and f.stat().st_mtime <= before]
    for file in staged:
        file.unlink()
    return [str(file.relative_to(folder)) for file in staged]


def rebuild_manifests(lake: Lake, tables: Iterable[str]) -> None:
    """Collect the manifests of these tables from their logs once more; readers see the old rows or the new."""
    tables = list(tables)
    while True:
        base = lake.open(MANIFESTS)
        frame, read = collect(lake, dict.fromkeys(tables, -1))
        read = dict.fromkeys((log_of(lake, table) for table in tables), 0) | read
        if base:
            places = [lake.location(table) for table in tables]
            others = rows_of(base).filter(~pl.col("table").is_in(places)).collect()
            frame = pl.concat([others.select(frame.columns), frame])
        try:
            lake.replace(MANIFESTS, {WHOLE: frame}, {}, base, read)
            return
        except ConcurrentWrite:
            continue  # somebody recorded a commit: it may be missing above
