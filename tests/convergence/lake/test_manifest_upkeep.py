import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from convergence.lake import acknowledged
from convergence.lake.content_hash import add_hashes, content_hash
from convergence.lake.maintenance import compact, rebuild_manifests, vacuum
from convergence.lake.manifests import (
    MANIFESTS,
    manifest,
    record,
)
from convergence.lake.tables import WHOLE, Lake
from tests.convergence.lake.frames import TABLE, append, day, held, recorded, rows, state, values, write

CUSTOMERS = "fraud/customers"


def test_compaction_and_vacuum_change_no_state(any_lake: Lake):
    for number in range(4):
        append(any_lake, pl.concat([rows(0, number), rows(1, number)]), offset=number + 1)
    before = held(any_lake)

    assert compact(any_lake, TABLE) == 6
    vacuum(any_lake, TABLE, retention=timedelta(0))
    append(any_lake, rows(0, 9), offset=5)

    version, count, digest = before[TABLE][day(0)]
    assert held(any_lake)[TABLE] == {
        day(0): (held(any_lake)[TABLE][day(0)][0], count + 1, add_hashes(digest, content_hash(rows(0, 9)))),
        day(1): before[TABLE][day(1)],
    }
    assert content_hash(any_lake.scan(TABLE, [day(1)]).collect()) == before[TABLE][day(1)][2]
    assert version == 4


def age(folder: Path, days: int) -> None:
    """Make a table as old as if all of it had happened so many days earlier."""
    past = time.time() - days * 86_400
    for entry in (folder / "_delta_log").glob("*.json"):
        lines = [json.loads(line) for line in entry.read_text().splitlines()]
        for line in lines:
            for action, stamp in (
                ("commitInfo", "timestamp"),
                ("add", "modificationTime"),
                ("remove", "deletionTimestamp"),
                ("metaData", "createdTime"),
                ("txn", "lastUpdated"),
            ):
                if line.get(action, {}).get(stamp):
                    line[action][stamp] -= days * 86_400_000
        entry.write_text("\n".join(json.dumps(line, separators=(",", ":")) for line in lines))
    (folder / acknowledged.FILE).unlink()
    for file in folder.rglob("*"):
        os.utime(file, (past, past))


def test_manifests_survive_sixty_days_a_checkpoint_log_cleanup_compaction_and_vacuum(lake: Lake):
    for number in range(3):
        write(lake, rows(0, number), rows(1, number))
        append(lake, rows(2, number), offset=number + 1)
    before, newest = held(lake), manifest(lake, TABLE, day(2))
    entries = len(list(lake.commits(TABLE)))
    for table in (TABLE, MANIFESTS):
        age(Path(lake.uri(table)), 60)
        handle = lake.open(table)
        assert handle
        handle.create_checkpoint()
        handle.cleanup_metadata()
        compact(lake, table)
        vacuum(lake, table)
        handle = lake.open(table)
        assert handle
        handle.create_checkpoint()
        handle.cleanup_metadata()

    later = Lake(lake.root)

    assert held(later) == before
    assert len(list(later.commits(TABLE))) == entries
    aged = manifest(later, TABLE, day(2))
    assert aged.pop("committed_at") < newest.pop("committed_at")
    assert aged == newest
    assert values(later) == [0, 1, 2, 2, 2]
    rebuild_manifests(later, [TABLE])
    assert held(later) == before


def test_rebuilding_gives_the_rows_that_were_recorded(any_lake: Lake):
    write(any_lake, rows(0, 1), rows(1, 2))
    append(any_lake, rows(0, 3), offset=1)
    write(any_lake, rows(0, 1), table="fraud/other")
    record(any_lake, [TABLE])
    before, states_before = recorded(any_lake), held(any_lake, TABLE, "fraud/other")

    rebuild_manifests(any_lake, [TABLE])

    assert recorded(any_lake) == before
    assert held(any_lake, TABLE, "fraud/other") == states_before


def test_rebuilding_replaces_what_was_wrong_and_recording_goes_on_from_there(lake: Lake):
    write(lake, rows(0, 1))
    wrong = lake.scan(MANIFESTS).collect().with_columns(content_hash=pl.lit("wrong"), version=pl.lit(99))
    lake.replace(MANIFESTS, {WHOLE: wrong.cast({"version": pl.Int64})}, {}, lake.open(MANIFESTS), {f"log/{TABLE}": 99})

    rebuild_manifests(lake, [TABLE])
    write(lake, rows(1, 2))

    assert held(lake) == {TABLE: {day(0): state(1, rows(0, 1)), day(1): state(2, rows(1, 2))}}


def test_rebuilding_makes_a_lost_manifests_table_anew(lake: Lake, tmp_path: Path):
    write(lake, rows(0, 1))
    before = held(lake)
    Path(lake.uri(MANIFESTS)).rename(tmp_path / "lost")

    rebuild_manifests(lake, [TABLE])

    assert held(lake) == before


def test_a_commit_recorded_during_a_rebuild_is_in_it(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    write(lake, rows(0, 1))
    replace, calls = Lake.replace, []

    def raced(self: Lake, table: str, *arguments: Any) -> None:
        if table == MANIFESTS and not calls:
            calls.append(table)
            write(lake, rows(1, 2))
        replace(self, table, *arguments)

    monkeypatch.setattr(Lake, "replace", raced)

    rebuild_manifests(lake, [TABLE])

    assert [row[1] for row in recorded(lake)] == [1, 2]
