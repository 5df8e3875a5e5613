import os
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from convergence.errors import ConcurrentWrite, LakeError, TableMissing
from convergence.lake.maintenance import compact, vacuum
from convergence.lake.tables import Lake
from tests.convergence.lake.frames import TABLE, append, day, rows, values, write

NOW = timedelta(0)


def data_files(lake: Lake, table: str = TABLE) -> set[str]:
    folder = Path(lake.uri(table))
    return {str(p.relative_to(folder)) for p in folder.rglob("*.parquet") if "_delta_log" not in p.parts}


def live_files(lake: Lake) -> list[str]:
    handle = lake.open(TABLE)
    assert handle
    return pl.DataFrame(handle.get_add_actions())["path"].to_list()


def test_compaction_leaves_one_file_per_day_and_the_same_rows(any_lake: Lake):
    for number in range(3):
        append(any_lake, pl.concat([rows(0, number), rows(1, 10 + number)]), offset=number + 1)

    assert compact(any_lake, TABLE) == 4

    assert len(live_files(any_lake)) == 2
    assert values(any_lake, day(0)) == [0, 1, 2]
    assert values(any_lake) == [0, 1, 2, 10, 11, 12]


def test_a_compacted_table_is_left_as_it_is(lake: Lake):
    write(lake, rows(0, 1), rows(1, 2))
    before = live_files(lake)

    assert compact(lake, TABLE) == 0

    assert live_files(lake) == before


def test_compaction_writes_no_manifest(lake: Lake):
    append(lake, rows(0, 1), offset=1)
    append(lake, rows(0, 2), offset=2)

    compact(lake, TABLE)

    assert [c.version for c in lake.commits(TABLE)] == [1, 2]


def test_a_day_replaced_during_compaction_keeps_its_new_rows(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    append(lake, rows(0, 1), offset=1)
    append(lake, rows(0, 2), offset=2)
    stale = lake.open(TABLE)
    write(lake, rows(0, 9))
    monkeypatch.setattr(Lake, "open", lambda *_: stale)

    with pytest.raises(ConcurrentWrite, match="changed while it was compacted; nothing was changed"):
        compact(lake, TABLE)

    monkeypatch.undo()
    assert values(lake) == [9]


def test_rows_appended_during_compaction_are_kept(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    append(lake, rows(0, 1), offset=1)
    append(lake, rows(0, 2), offset=2)
    stale = lake.open(TABLE)
    append(lake, rows(0, 3), offset=3)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "open", lambda *_: stale)
        compact(lake, TABLE)

    assert values(lake) == [1, 2, 3]


def test_a_writer_that_began_before_a_compaction_loses_no_row(lake: Lake):
    append(lake, rows(0, 1), offset=1)
    append(lake, rows(0, 2), offset=2)
    base = lake.open(TABLE)
    compact(lake, TABLE)

    with pytest.raises(ConcurrentWrite):
        lake.replace(TABLE, {day(0): rows(0, 9)}, {}, base)
    lake.append(TABLE, rows(0, 3), {}, {"source": 3}, lake.open(TABLE), dated=True)

    assert values(lake) == [1, 2, 3]


def test_vacuum_deletes_replaced_files_and_leftovers_of_killed_writers(any_lake: Lake):
    write(any_lake, rows(0, 1))
    write(any_lake, rows(0, 2))
    any_lake._write_files(TABLE, {day(0): rows(0, 3)})  # what a writer leaves that dies before its commit

    deleted = vacuum(any_lake, TABLE, retention=NOW)

    assert len(deleted) == 2
    assert vacuum(any_lake, TABLE, retention=NOW) == []
    assert values(any_lake) == [2]


def test_vacuum_deletes_a_file_that_its_writer_did_not_live_to_finish(lake: Lake):
    write(lake, rows(0, 1))
    half = Path(lake.uri(TABLE)) / f"event_date={day(0)}" / "x.parquet#1"
    half.write_bytes(b"PAR1")

    assert vacuum(lake, TABLE) == []
    assert vacuum(lake, TABLE, retention=NOW) == [f"event_date={day(0)}/x.parquet#1"]

    assert not half.exists()


def test_vacuum_leaves_files_that_may_belong_to_a_commit_in_the_making(lake: Lake):
    write(lake, rows(0, 1))
    lake._write_files(TABLE, {day(0): rows(0, 3)})
    before = data_files(lake)

    assert vacuum(lake, TABLE) == []

    assert data_files(lake) == before


def test_vacuum_with_its_default_week_deletes_older_leftovers(lake: Lake):
    write(lake, rows(0, 1))
    (leftover,) = lake._write_files(TABLE, {day(0): rows(0, 3)})
    past = time.time() - 8 * 86_400
    os.utime(Path(lake.uri(TABLE)) / leftover.path, (past, past))

    assert vacuum(lake, TABLE) == [leftover.path]


def test_a_kept_version_survives_vacuum_and_others_do_not(lake: Lake):
    for number in range(4):
        write(lake, rows(0, number))

    vacuum(lake, TABLE, keep_versions=[2], retention=NOW)

    assert lake.scan(TABLE, version=2).collect()["value"].to_list() == [1]
    assert values(lake) == [3]
    with pytest.raises(FileNotFoundError):
        lake.scan(TABLE, version=1).collect()


def test_vacuum_refuses_to_take_another_table_for_leftovers(lake: Lake):
    write(lake, rows(0, 1), table="fraud")
    write(lake, rows(0, 2), table="fraud/inner")

    with pytest.raises(LakeError, match=r"fraud holds another table \(inner\)"):
        vacuum(lake, "fraud", retention=NOW)

    assert values(lake, table="fraud/inner") == [2]


def test_vacuum_keeps_the_logs(lake: Lake):
    for number in range(3):
        write(lake, rows(0, number))

    vacuum(lake, TABLE, retention=NOW)

    assert [c.version for c in lake.commits(TABLE)] == [1, 2, 3]


@pytest.mark.parametrize("task", [compact, vacuum])
def test_there_is_no_upkeep_of_a_table_never_written(lake: Lake, task: object):
    with pytest.raises(TableMissing, match="has never been written"):
        task(lake, TABLE)  # pyright: ignore[reportCallIssue]
