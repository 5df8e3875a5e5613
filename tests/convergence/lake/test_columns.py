from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.errors import SchemaConflict
from convergence.lake.content_hash import content_hash
from convergence.lake.tables import DAY, WHOLE, Lake
from tests.convergence.lake.frames import FIRST, TABLE, append, contents, day, every_type, frames, replace, rows, values


def test_a_new_column_is_null_in_older_rows(any_lake: Lake):
    replace(any_lake, rows(0, 1))

    replace(any_lake, rows(1, 2, channel="web"))

    assert any_lake.scan(TABLE).sort("value").collect().select("value", "channel").rows() == [(1, None), (2, "web")]


def test_new_columns_arrive_with_appended_rows_too(any_lake: Lake):
    append(any_lake, rows(0, 1), offset=1)

    append(any_lake, rows(0, 2, channel="web"), offset=2)

    assert any_lake.scan(TABLE).sort("value").collect()["channel"].to_list() == [None, "web"]


def test_a_column_that_is_no_longer_written_reads_as_null(any_lake: Lake):
    replace(any_lake, rows(0, 1, channel="web"))

    replace(any_lake, rows(1, 2))

    assert any_lake.scan(TABLE).sort("value").collect()["channel"].to_list() == ["web", None]


def test_a_changed_type_is_refused_and_names_the_column(lake: Lake):
    replace(lake, rows(0, 1))

    with pytest.raises(SchemaConflict, match=rf"{TABLE}\.value: the table has .*long.*, the new rows .*string"):
        replace(lake, rows(0, 1).with_columns(pl.col("value").cast(pl.String)))

    assert values(lake) == [1]


def test_a_column_without_a_type_is_refused(lake: Lake):
    with pytest.raises(SchemaConflict, match=rf"{TABLE}\.remark has no type"):
        replace(lake, rows(0, 1, remark=None))


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([1], dtype=pl.UInt32),
        pl.Series([1], dtype=pl.UInt64),
        pl.Series([1], dtype=pl.Int128),
        pl.Series(["a"], dtype=pl.Enum(["a"])),
        pl.Series([[1.0]], dtype=pl.Array(pl.Float32, 1)),
        pl.Series([timedelta(1)]),
        pl.Series([datetime(2024, 1, 1)]),
        pl.Series([datetime(2024, 1, 1, tzinfo=UTC)]).cast(pl.Datetime("ns", "UTC")),
        pl.Series([datetime(2024, 1, 1, tzinfo=UTC)]).dt.convert_time_zone("Europe/Amsterdam"),
        pl.Series([[1]], dtype=pl.List(pl.UInt8)),
        pl.Series([{"a": 1}], dtype=pl.Struct({"a": pl.UInt8})),
    ],
    ids=lambda column: str(column.dtype),
)
def test_a_type_that_delta_would_not_give_back_is_refused_before_anything_is_written(lake: Lake, column: pl.Series):
    with pytest.raises(SchemaConflict, match=rf"{TABLE}\.column is .* does not give back"):
        replace(lake, rows(0, 1).with_columns(column.alias("column")))

    assert not Path(lake.root).exists() or not contents(Path(lake.root))


def test_columns_that_differ_in_case_only_are_refused(lake: Lake):
    replace(lake, rows(0, 1))

    with pytest.raises(SchemaConflict, match="differ in case only"):
        replace(lake, rows(0, 1, Value=1))
    with pytest.raises(SchemaConflict, match="there is a column value"):
        replace(lake, rows(0, 1).rename({"value": "Value"}))


def test_every_storable_type_reads_back_unchanged(any_lake: Lake):
    frame = every_type()

    replace(any_lake, frame)

    back = any_lake.scan(TABLE).collect()
    assert_frame_equal(back, frame, check_dtypes=False, categorical_as_str=True)
    assert content_hash(back) == content_hash(frame)


def test_one_commit_takes_partitions_of_one_schema(lake: Lake):
    for partitions in ({}, {day(0): rows(0, 1), day(1): rows(1, 1, new=1)}, {WHOLE: rows(0, 1), day(1): rows(1, 1)}):
        with pytest.raises(SchemaConflict, match="one commit takes partitions of one schema"):
            lake.replace(TABLE, partitions, {}, None)


EXTREMES = {
    "int": (pl.Int64, [-(2**63), -(2**53) - 1, -1, 0, 2**53 + 1, 2**63 - 1]),
    "float": (pl.Float64, [float("-inf"), -0.0, 1e308, float("inf"), float("nan")]),
    "time": (
        pl.Datetime("us", "UTC"),
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC),
            datetime(2024, 1, 1, 0, 0, 0, 1, UTC),
            datetime(2024, 1, 1, 0, 0, 0, 1_999, UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
        ],
    ),
    "date": (pl.Date, [date(1, 1, 1), date(1969, 12, 31), date(9999, 12, 31)]),
    "text": (pl.String, ["", "a", "a" * 500, "\U0010ffff"]),
}


@pytest.mark.parametrize("column", EXTREMES)
def test_statistics_never_hide_a_row_from_a_filter(lake: Lake, column: str):
    kind, extremes = EXTREMES[column]
    everything = pl.concat(
        [rows(n, n).with_columns(pl.Series(column, [v], dtype=kind)) for n, v in enumerate([*extremes, None])]
    )
    replace(lake, everything)  # a file per value

    for limit in extremes:
        at = pl.lit(limit, kind)
        for rule in (pl.col(column) == at, pl.col(column) < at, pl.col(column) >= at, pl.col(column) != at):
            found = lake.scan(TABLE).filter(rule).select("value").collect()["value"]
            assert sorted(found) == sorted(everything.filter(rule)["value"]), (limit, rule)
    nulls = lake.scan(TABLE).filter(pl.col(column).is_null()).collect()["value"].to_list()
    assert nulls == [len(extremes)]


@settings(max_examples=10, deadline=None)
@given(frames(least=1), st.integers(0, 3))
def test_any_frame_reads_back_with_the_hash_it_was_written_with(
    tmp_path_factory: pytest.TempPathFactory, frame: pl.DataFrame, number: int
):
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    dated = frame.with_columns(pl.lit(FIRST + timedelta(days=number)).alias(DAY))

    replace(lake, dated)

    assert content_hash(lake.scan(TABLE, [day(number)]).collect()) == content_hash(dated)
