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
from obstore.store import ObjectStore

from convergence.arrivals.erased import texts_of
from convergence.erasure.inbox import Replacement
from convergence.erasure.subjects import NotSearched, Subject
from convergence.errors import ConcurrentWrite, LakeError
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
    return _found(base, subject, _columns(table, base, subject)) if base else {}


def unnamed(lake: Lake, table: str, subject: Subject) -> bool:
    """Whether a table that is to name the subject has no column that does, so that nobody can tell whose its rows are.

    Its contract has renamed the column, and nothing has been written since.
    """
    base = lake.open(table)
    return base is not None and not _is_text(table, subject) and not _columns(table, base, subject)


def searched_by(lake: Lake, table: str, subject: Subject) -> str:
    """By what a table is searched, in words."""
    base = lake.open(table)
    columns = _columns(table, base, subject) if base else []
    if columns is None:
        return "each value and word of what came"
    return f"column {' or '.join(columns)}" if columns else "no column of its contract names the subject"


def strangers(lake: Lake, known: Collection[str], subject: Subject) -> list[NotSearched]:
    """Tables of the lake that no asset makes any more, and that may name the subject. None where nothing is `known`."""
    mine = {each for table in known for each in companions(table)}
    found = []
    for folder in _tables_below(lake.store, "") if known else ():
        use_case, _, rest = folder.partition("/")
        name, _, number = use_case.partition("@")
        table = f"{name}/{rest}"
        if table in mine:
            continue
        try:
            base = lake.at({table: int(number or FIRST)}).open(table)
        except (LakeError, ValueError):
            found.append(NotSearched(f"lake/{subject.masked(folder)}", "cannot be opened as a table"))
            continue
        if base and (columns := _columns(table, base, subject)) != []:
            what = f"its {' and '.join(columns)}" if columns else "its rows"
            why = f"no asset makes it any more, and {what} may name the subject: delete it"
            found.append(NotSearched(f"lake/{subject.masked(folder)}", why))
    return found


def _tables_below(store: ObjectStore, folder: str) -> Iterator[str]:
    """The folders with a log of Delta's; our own, whose names begin with an underscore, hold nobody's rows."""
    for each in obstore.list_with_delimiter(store, folder or None)["common_prefixes"]:
        path = each.rstrip("/")
        if path.rpartition("/")[2].startswith("_") or f"/{DAY}=" in path:
            continue
        inner = [p.rstrip("/") for p in obstore.list_with_delimiter(store, path)["common_prefixes"]]
        if f"{path}/_delta_log" in inner:
            yield path
        else:
            yield from _tables_below(store, path)


def events(lake: Lake, table: str, subject: Subject) -> set[str]:
    """The ids of the subject's events in a table that names both; empty where there is no such column, or no table."""
    base = lake.open(table)
    if base is None or table not in subject.events:
        return set()
    rows = rows_of(base)
    ids = subject.typed(rows.collect_schema()[subject.columns[table]])
    mine = rows.filter(pl.col(subject.columns[table]).is_in(ids.implode())).select(subject.events[table])
    return set(mine.collect().to_series().cast(pl.String).drop_nulls())


def clear(
    lake: Lake, table: str, subject: Subject, stone: Tombstone, replaced: Sequence[Replacement] = ()
) -> Cleared | None:
    """Take the subject out of a table and remove the files of its older versions; None where there is no table.

    `replaced`: files of the inbox, which count as landed from now on where the former ones did. May be asked again
    after a crash. Landers may go on meanwhile, and so may runs: one that wrote from an older state is refused. Raises
    ConcurrentWrite where others never let it finish.
    """
    for _ in range(_ATTEMPTS):
        try:
            while (base := lake.open(table)) is not None and _step(lake, table, base, subject, stone, replaced):
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
    files = remove_former(lake, table, lambda content: _holds(content, table, subject), every_version=bool(rows))
    return Cleared(lake.location(table), rows, version, len(files))


def _step(
    lake: Lake,
    table: str,
    base: DeltaTable,
    subject: Subject,
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
    columns = _columns(table, base, subject)
    found = _found(base, subject, columns)
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
    there = _partitions(base, keys)
    rest = {key: rows.filter(~_marked(rows, subject, columns)) for key, rows in there.items()}
    if kept := [key or "the whole table" for key in keys if rest[key].height + found[key] != there[key].height]:
        raise LakeError(
            f"{table}: erasing would not take out of {', '.join(kept[:3])} the rows that were counted there, so "
            "nothing of it was written and nothing is certified. Report this: until it is mended they stay"
        )
    parts = {
        key: {**former["partitions"][key], "rows": rows.height, "hash": content_hash(rows)}
        for key, rows in rest.items()
    }
    kept = {k: v for k, v in former.items() if k not in ("offsets", "lost", "left_out", "erased", "replaced")}
    gone = {key: found[key] for key in keys}
    lake.replace(table, rest, {**kept, "mode": "replace", "partitions": parts, **about, "erased": gone}, base, consumed)
    return True


def _found(base: DeltaTable, subject: Subject, columns: Collection[str] | None) -> dict[str, int]:
    """Rows of the subject by partition, none of them with zero."""
    rows, day = rows_of(base), [DAY] if _dated(base) else []
    if columns is not None and not columns:
        return {}
    if columns is not None:
        rows = rows.select(*columns, *day)
        kinds = rows.collect_schema()
        rows = rows.filter(pl.any_horizontal(pl.col(n).is_in(subject.typed(kinds[n]).implode()) for n in columns))
    frame = rows.collect()
    frame = frame.filter(_marked(frame, subject, columns))
    counts = frame.group_by(DAY).len().sort(DAY).iter_rows() if day else [(WHOLE, frame.height)]
    return {str(key): rows for key, rows in counts if rows}


def _marked(frame: pl.DataFrame, subject: Subject, columns: Collection[str] | None) -> pl.Series:
    if columns is None:
        return pl.Series([any(map(subject.named_in, row)) for row in texts_of(frame).rows()], dtype=pl.Boolean)
    found = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
    for name in columns:
        found |= frame[name].is_in(subject.typed(frame.schema[name]).implode()).fill_null(False)
    return found


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


def _holds(content: bytes, table: str, subject: Subject) -> bool:
    """Whether a data file that no version needs names the subject; one that cannot be read may."""
    try:
        frame = pl.read_parquet(BytesIO(content))
    except (pl.exceptions.PolarsError, OSError):
        return True
    columns = None if _is_text(table, subject) else subject.fields & set(frame.columns)
    return bool(_marked(frame, subject, columns).any())


def _columns(table: str, base: DeltaTable, subject: Subject) -> list[str] | None:
    """The columns that name the subject, under every name that one has had; None in a table of rows that are text."""
    if _is_text(table, subject):
        return None
    return sorted(subject.fields & {column.name for column in base.schema().fields})


def _is_text(table: str, subject: Subject) -> bool:
    return table not in subject.columns and table.endswith("_rejected")


def _dated(base: DeltaTable) -> bool:
    return bool(base.metadata().partition_columns)
