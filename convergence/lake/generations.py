"""Where a table lies: a use case's tables can be made anew beside the old ones and exchanged all at once.

Generation 1 lies under the use case's own name, generation n under `<use_case>@<n>`. Which one counts is said by the
newest entry of `_generations/`. Entries are only ever created: a folder and a bucket both refuse to create a name
twice, while only a bucket can replace one conditionally; and what was switched when stays on record.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore

from convergence.errors import InvalidName, LakeError
from convergence.lake import durable

FIRST = 1

Generations = Mapping[str, int]  # table -> generation; a table that is not named is in its first

_POINTER = "_generations"
_USE_CASE = r"[a-z_][a-z0-9_]{0,99}"
_TABLE_NAME = re.compile(rf"(?!(.*/)?_delta_log(/|$)){_USE_CASE}(/[a-z_][a-z0-9_]{{0,99}}){{0,7}}")


def use_case_of(table: str) -> str:
    """The first word of a table's name."""
    return table.partition("/")[0]


def location(table: str, generation: int = FIRST) -> str:
    """The folder of a table below the lake's root. Raises InvalidName for a name that could leave the root."""
    if not _TABLE_NAME.fullmatch(table):
        raise InvalidName(f"table {table[:40]!r}: expected lower-case words joined by '/', e.g. fraud/transactions")
    use_case = use_case_of(table)
    return table if generation == FIRST else f"{_folder(use_case, generation)}{table.removeprefix(use_case)}"


def current(store: ObjectStore) -> Generations:
    """The generations that count now, all of them from one read. Raises LakeError where they cannot be told."""
    return _newest(store)[1]


def reserve(store: ObjectStore, use_case: str, used: Iterable[int] = ()) -> int:
    """The next generation of a use case, for the caller alone: later than every folder there is and all of `used`."""
    if not re.fullmatch(_USE_CASE, use_case):
        raise InvalidName(f"use case {use_case[:40]!r}: expected one lower-case word, e.g. fraud")
    folders = obstore.list_with_delimiter(store)["common_prefixes"]
    there = [int(n) for f in folders for n in re.findall(rf"^{use_case}@(\d+)$", f.rstrip("/"))]
    generation = max([FIRST, *there, *used]) + 1
    while not _create(store, f"{_folder(use_case, generation)}/_started.json", {"started": _now()}):
        generation += 1
    return generation


def complete(store: ObjectStore, use_case: str, generation: int, tables: Iterable[str]) -> None:
    """Put on record that these tables of a generation are whole, so that it may be switched to."""
    content = {"completed": _now(), "tables": sorted(tables)}
    if not _create(store, f"{_folder(use_case, generation)}/_complete.json", content):
        raise LakeError(f"generation {generation} of {use_case} is complete already: start a new one")


def switch(store: ObjectStore, use_case: str, generation: int) -> int:
    """Let all tables of a generation count, in one step; returns the generation that counted before.

    Tables of the use case that the generation does not hold count in their first. Raises LakeError for a generation
    that was never completed.
    """
    mine = _tables_of(store, use_case, generation)
    while True:
        number, there = _newest(store)
        before = max((g for table, g in there.items() if use_case_of(table) == use_case), default=FIRST)
        others = {table: g for table, g in there.items() if use_case_of(table) != use_case}
        entry = {
            "switched": _now(),
            "use_case": use_case,
            "generation": generation,
            "before": before,
            "tables": others | dict.fromkeys(mine, generation),
        }
        if _create(store, f"{_POINTER}/{number + 1:010}.json", entry):
            return before


def _newest(store: ObjectStore) -> tuple[int, dict[str, int]]:
    """Number and tables of the newest entry of the pointer; 0 and none where nothing was ever switched."""
    try:
        entries = [meta["path"] for batch in obstore.list(store, prefix=f"{_POINTER}/") for meta in batch]
        newest = max((e for e in entries if re.search(r"/\d{10}\.json$", e)), default=None)
        if newest is None:
            return 0, {}
        return int(newest[-15:-5]), json.loads(bytes(obstore.get(store, newest).bytes()))["tables"]
    except (BaseError, ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"{_POINTER}, which says where the tables lie, cannot be read ({type(error).__name__}); nothing was changed"
        ) from error


def _tables_of(store: ObjectStore, use_case: str, generation: int) -> list[str]:
    if generation == FIRST:
        return []
    folder = _folder(use_case, generation)
    try:
        return json.loads(bytes(obstore.get(store, f"{folder}/_complete.json").bytes()))["tables"]
    except (NotFoundError, FileNotFoundError) as error:
        raise LakeError(
            f"{folder} was never completed, so it cannot count; nothing was switched. "
            f"`convergence replay --from-beginning {use_case}` makes a new generation"
        ) from error


def _create(store: ObjectStore, path: str, content: Mapping[str, Any]) -> bool:
    """Put an object where there is none; False if somebody else has."""
    try:
        durable.put(store, path, json.dumps(content, indent=1).encode(), mode="create")
    except AlreadyExistsError:
        return False
    return True


def _folder(use_case: str, generation: int) -> str:
    return f"{use_case}@{generation}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
