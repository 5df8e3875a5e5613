"""A subject leaves the lake's tables: its rows, what was kept out of them, and every file of an older version.

A partition that held it is replaced by what remains, with the manifest that it had and the number of the erasure. Each
table that was looked through gets that number in a commit, and is looked through once more after it: whoever wrote from
an older state has then either been seen or loses the race for the commit.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import obstore
import polars as pl
from deltalake import DeltaTable

from convergence.erasure.inbox import Replacement
from convergence.erasure.subjects import Subject
from convergence.errors import ConcurrentWrite
from convergence.faults import fault
from convergence.lake.content_hash import content_hash
from convergence.lake.erasures import Tombstone
from convergence.lake.generations import FIRST, use_case_of
from convergence.lake.maintenance import remove_former
from convergence.lake.manifests import record, states
from convergence.lake.tables import DAY, ERASURE, WHOLE, Lake, by_day, rows_of

_AT_ONCE = 31  # partitions of a commit: they are in memory together
_ATTEMPTS = 20  # against other writers


@dataclass(frozen=True)
class Cleared:
    """What an erasure took out of a table, or would: rows by partition."""

    table: str  # where it lies
    rows: Mapping[str, int]
    version: int  # of the last commit that took rows out: no file of an earlier version is left; -1: none did
    files: int  # removed, of earlier versions


def lakes(lake: Lake, table: str) -> Iterator[Lake]:
    """The lake with this table in each generation that lies there, complete or not, the one that counts included."""
    use_case = use_case_of(table)
    folders = [f.rstrip("/") for f in obstore.list_with_delimiter(lake.store)["common_prefixes"]]
    numbers = {int(n) for name, _, n in (f.partition("@") for f in folders) if name == use_case and n.isdigit()}
    for number in sorted({FIRST, lake.generation(table), *numbers}):
        yield lake.at(dict.fromkeys(companions(table), number))


def companions(table: str) -> list[str]:
    """A table, and what was kept out of it."""
    return [table, f"{table}_late", f"{table}_rejected"]


def held(lake: Lake, table: str, subject: Subject) -> dict[str, int]:
    """Rows of the subject by partition, as the table is now; empty where there is none, or no table."""
    base = lake.open(table)
    return _found(base, subject, _column(table, subject)) if base else {}


def clear(
    lake: Lake, table: str, subject: Subject, stone: Tombstone, replaced: Sequence[Replacement] = ()
) -> Cleared | None:
    """Take the subject out of a table and remove the files of its older versions; None where there is no table.

    `replaced`: files of the inbox, which count as landed from now on where the former ones did. May be asked again
    after a crash. Landers may go on meanwhile, and so may runs: one that wrote from an older state is refused. Raises
    ConcurrentWrite where others never let it finish.
    """
    column = _column(table, subject)
    for _ in range(_ATTEMPTS):
        try:
            while (base := lake.open(table)) is not None and _step(lake, table, base, subject, column, stone, replaced):
                fault("between_erasing")
            break
        except ConcurrentWrite:
            continue  # look again at what is there now
    else:
        raise ConcurrentWrite(f"{table} changed {_ATTEMPTS} times while a subject was erased from it: erase it again")
    if base is None:
        return None
    record(lake, [table])
    rows, version = _taken(lake, table, stone.number)
    files = remove_former(lake, table, lambda content: _holds(content, subject, column), every_version=bool(rows))
    return Cleared(lake.location(table), rows, version, len(files))


def _step(
    lake: Lake,
    table: str,
    base: DeltaTable,
    subject: Subject,
    column: str | None,
    stone: Tombstone,
    replaced: Iterable[Replacement],
) -> bool:
    """One commit nearer to a table that was marked and then found without the subject; False: it is."""
    mark = base.transaction_version(ERASURE) or 0
    landed = {
        r.before: (r.after, r.messages)
        for r in replaced
        if base.transaction_version(r.before) is not None and base.transaction_version(r.after) is None
    }
    found = _found(base, subject, column)
    if not found and not landed and mark >= stone.number:
        return False
    consumed = {ERASURE: max(mark, stone.number)} | dict(landed.values())
    about: dict[str, Any] = {"erasure": stone.number}
    if landed:
        about["replaced"] = {before: after for before, (after, _) in landed.items()}
    if not found:
        manifest = {
            "mode": "append",
            "run_id": f"erasure/{stone.number}",
            "code_version": "",
            "origins": [],
            "config": {},
        }
        empty = rows_of(base).head(0).collect()
        made = {**manifest, "inputs": {}, "partitions": {}, **about}
        lake.append(table, empty, made, consumed, base, dated=_dated(base))
        return True
    keys, former = _alike(lake, table, found)
    rest = {key: rows.filter(~_marked(rows, subject, column)) for key, rows in _partitions(base, keys).items()}
    parts = {
        key: {**former["partitions"][key], "rows": rows.height, "hash": content_hash(rows)}
        for key, rows in rest.items()
    }
    kept = {k: v for k, v in former.items() if k not in ("offsets", "lost", "left_out", "erased", "replaced")}
    gone = {key: found[key] for key in keys}
    lake.replace(table, rest, {**kept, "mode": "replace", "partitions": parts, **about, "erased": gone}, base, consumed)
    return True


def _found(base: DeltaTable, subject: Subject, column: str | None) -> dict[str, int]:
    rows = rows_of(base)
    if column is not None:
        ids = subject.typed(rows.collect_schema()[column])
        if ids.is_empty():
            return {}
        rows = rows.filter(pl.col(column).is_in(ids.implode()))
        frame = rows.select(DAY if _dated(base) else pl.lit(None, pl.Date).alias(DAY)).collect()
    else:
        frame = rows.select(DAY if _dated(base) else pl.lit(None, pl.Date).alias(DAY), "row").collect()
        frame = frame.filter(_marked(frame, subject, None))
    counts = frame.group_by(DAY).len().sort(DAY).iter_rows()
    return {WHOLE if day is None else str(day): rows for day, rows in counts}


def _marked(frame: pl.DataFrame, subject: Subject, column: str | None) -> pl.Series:
    if column is None:
        return pl.Series([subject.named_in(text) for text in frame["row"]], dtype=pl.Boolean)
    return frame[column].is_in(subject.typed(frame.schema[column]).implode()).fill_null(False)


def _partitions(base: DeltaTable, keys: Collection[str]) -> dict[str, pl.DataFrame]:
    if WHOLE in keys:
        return {WHOLE: rows_of(base).collect()}
    return by_day(rows_of(base, list(keys)).collect())


def _alike(lake: Lake, table: str, found: Collection[str]) -> tuple[list[str], Mapping[str, Any]]:
    """Some of the partitions whose newest state is of one commit, and its manifest."""
    newest = states(lake, [table])[table]
    version = min(newest[key].version for key in found)
    keys = [key for key in found if newest[key].version == version][:_AT_ONCE]
    return keys, next(c.manifest for c in lake.commits(table, version - 1) if c.version == version)


def _taken(lake: Lake, table: str, number: int) -> tuple[dict[str, int], int]:
    """What the commits of this erasure say that they took out, those before a crash included."""
    rows: dict[str, int] = {}
    version = -1
    for commit in lake.commits(table):
        if commit.manifest.get("erasure") == number and "erased" in commit.manifest:
            version = commit.version
            for key, count in commit.manifest["erased"].items():
                rows[key] = rows.get(key, 0) + count
    return dict(sorted(rows.items())), version


def _holds(content: bytes, subject: Subject, column: str | None) -> bool:
    """Whether a data file that no version needs names the subject; one that cannot be read may."""
    try:
        frame = pl.read_parquet(BytesIO(content))
    except (pl.exceptions.PolarsError, OSError):
        return True
    name = column or "row"
    return name in frame.columns and bool(_marked(frame, subject, column).any())


def _column(table: str, subject: Subject) -> str | None:
    """The column that names the subject; None in a table of rows that are text."""
    return (
        None
        if table not in subject.columns and table.endswith("_rejected")
        else subject.columns[_plain(table, subject)]
    )


def _plain(table: str, subject: Subject) -> str:
    return table if table in subject.columns else table.removesuffix("_late")


def _dated(base: DeltaTable) -> bool:
    return bool(base.metadata().partition_columns)
