from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from convergence.errors import LakeError, TableMissing
from convergence.lake import acknowledged
from convergence.lake.tables import DAY, WHOLE, Lake
from tests.convergence.lake.frames import TABLE, append, contents, day, replace, rows, values


def version(lake: Lake, table: str = TABLE) -> int:
    handle = lake.open(table)
    assert handle
    return handle.version()


def test_a_day_reads_back_as_it_was_written(any_lake: Lake):
    frame = rows(0, 3, 1, 2)

    replace(any_lake, frame)

    assert_frame_equal(any_lake.scan(TABLE, [day(0)]).collect(), frame, check_row_order=False)


def test_a_rewritten_day_holds_its_new_rows_alone(any_lake: Lake):
    replace(any_lake, rows(0, 1, 2), rows(1, 10))

    replace(any_lake, rows(0, 3))

    assert values(any_lake) == [3, 10]


def test_rewriting_a_day_touches_no_byte_of_the_others(lake: Lake):
    replace(lake, *(rows(n, n) for n in range(4)))
    folder = Path(lake.uri(TABLE))
    before = {p: b for p, b in contents(folder).items() if f"{DAY}={day(1)}" not in p and p != acknowledged.FILE}

    replace(lake, rows(1, 99))

    after = contents(folder)
    assert {p: after[p] for p in before} == before
    assert sorted(p for p in after if p not in before) == sorted(
        [p for p in after if f"{DAY}={day(1)}" in p] + [acknowledged.FILE, "_delta_log/00000000000000000002.json"]
    )


def test_a_range_of_days_is_one_commit(any_lake: Lake):
    replace(any_lake, *(rows(n, n) for n in range(30)))

    replace(any_lake, *(rows(n, -n) for n in range(30)))

    assert version(any_lake) == 2  # 0 creates the table
    assert values(any_lake) == sorted(-n for n in range(30))


def test_a_window_reads_only_the_files_of_its_days(lake: Lake):
    replace(lake, *(rows(n, n) for n in range(5)))
    for file in Path(lake.uri(TABLE)).rglob("*.parquet"):
        if file.parent.name not in (f"{DAY}={day(1)}", f"{DAY}={day(2)}"):
            file.write_bytes(b"unreadable")

    assert values(lake, day(1), day(2)) == [1, 2]


def test_days_without_rows_read_as_no_rows(any_lake: Lake):
    replace(any_lake, rows(0, 1))

    assert values(any_lake, day(7)) == []
    assert any_lake.scan(TABLE, []).collect().is_empty()


def test_an_empty_partition_clears_its_day(any_lake: Lake):
    replace(any_lake, rows(0, 1), rows(1, 2))

    any_lake.replace(TABLE, {day(0): rows(0)}, {}, any_lake.open(TABLE))

    assert values(any_lake) == [2]


def test_a_table_may_begin_with_an_empty_day(any_lake: Lake):
    any_lake.replace(TABLE, {day(0): rows(0)}, {}, None)

    assert any_lake.scan(TABLE).collect_schema() == rows(0).schema
    replace(any_lake, rows(0, 5))
    assert values(any_lake) == [5]


def test_a_table_without_dates_is_replaced_as_a_whole(any_lake: Lake):
    for held in ([1, 2], [3]):
        any_lake.replace(
            "fraud/customers", {WHOLE: pl.DataFrame({"value": held})}, {}, any_lake.open("fraud/customers")
        )

    assert values(any_lake, table="fraud/customers") == [3]


def test_a_table_is_dated_or_whole_and_stays_so(lake: Lake):
    whole = pl.DataFrame({"value": [1]})
    replace(lake, rows(0, 1))
    lake.replace("fraud/customers", {WHOLE: whole}, {}, None)

    with pytest.raises(LakeError, match="is written as days, not as the whole table"):
        lake.replace(TABLE, {WHOLE: whole}, {}, lake.open(TABLE))
    with pytest.raises(LakeError, match="is written as the whole table, not as days"):
        replace(lake, rows(0, 1), table="fraud/customers")
    with pytest.raises(LakeError, match="is written as the whole table, not as days"):
        append(lake, rows(0, 1), offset=1, table="fraud/customers")

    assert values(lake) == values(lake, table="fraud/customers") == [1]


def test_rows_of_another_day_than_their_partition_are_refused(lake: Lake):
    with pytest.raises(LakeError, match=r"2024-01-01: 1 of 2 rows have another event_date; nothing was written"):
        lake.replace(TABLE, {day(0): pl.concat([rows(0, 1), rows(1, 2)])}, {}, None)
    for frame in (rows(0, 1).drop(DAY), rows(0, 1).with_columns(pl.col(DAY).cast(pl.String))):
        with pytest.raises(LakeError, match="no column event_date of type Date"):
            lake.replace(TABLE, {day(0): frame}, {}, None)

    assert lake.open(TABLE) is None


def test_an_older_version_reads_as_it_was(any_lake: Lake):
    replace(any_lake, rows(0, 1))
    replace(any_lake, rows(0, 2))

    assert any_lake.scan(TABLE, version=1).collect()["value"].to_list() == [1]


@pytest.mark.parametrize("number", [-1, 7])
def test_a_version_that_was_never_written_is_refused(lake: Lake, number: int):
    replace(lake, rows(0, 1))

    with pytest.raises(LakeError, match=f"cannot be opened at version {number}"):
        lake.open(TABLE, number)


def test_a_table_that_was_never_written_is_missing(any_lake: Lake):
    assert any_lake.open(TABLE) is None
    with pytest.raises(TableMissing, match=f"materialize {TABLE} first"):
        any_lake.scan(TABLE)
    assert not list(any_lake.commits(TABLE))


def test_commits_are_those_with_a_manifest_after_a_version(any_lake: Lake):
    for number in range(3):
        any_lake.replace(TABLE, {day(0): rows(0, number)}, {"number": number}, any_lake.open(TABLE))

    assert [(c.version, c.manifest) for c in any_lake.commits(TABLE)] == [(n + 1, {"number": n}) for n in range(3)]
    assert [c.version for c in any_lake.commits(TABLE, after=1)] == [2, 3]
    assert not list(any_lake.commits(TABLE, after=3))
