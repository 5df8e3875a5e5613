"""`lake_asset` and its I/O manager in runs of one day, of a range, and of assets without partitions."""

from collections.abc import Mapping
from datetime import date

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from convergence.lake.content_hash import content_hash
from convergence.lake.manifests import manifest
from convergence.lake.tables import WHOLE, Lake
from resources.lake import LakeIOManager, lake_asset
from tests.resources.readings import (
    DAILY,
    DAYS,
    WEEKLY,
    WEEKS,
    Reading,
    frame_of,
    held,
    made_from,
    materialize,
    readings,
    stored,
    summed,
    values_of,
    windowed,
)


def events(result: dg.ExecuteInProcessResult, asset: dg.AssetsDefinition) -> dict[str | None, list[Mapping[str, str]]]:
    """The tags of every materialization of a run, by partition."""
    found: dict[str | None, list[Mapping[str, str]]] = {}
    for event in result.get_asset_materialization_events():
        if event.asset_key == asset.key:
            tags = event.step_materialization_data.materialization.tags or {}
            found.setdefault(event.partition, []).append(tags)
    return found


def test_a_day_is_stored_under_the_hash_of_its_rows(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of()
    root = readings(values)
    result = materialize([root], lake, instance, DAYS[2])
    assert stored(lake, root) == {DAYS[2]: values[DAYS[2]]}
    ((tags,),) = events(result, root).values()
    assert tags["dagster/data_version"] == content_hash(frame_of(values, [DAYS[2]]))


def test_a_day_says_by_itself_what_it_was_made_from(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(values_of())
    copy = made_from(root, "copy")
    materialize([root], lake, instance, DAYS[2])
    result = materialize([root, copy], lake, instance, DAYS[2], only=[copy])
    ((tags,),) = events(result, copy).values()
    assert tags["dagster/code_version"] == "1"
    assert tags["dagster/input_data_version/readings"]
    (newest,) = instance.fetch_materializations(root.key, limit=1).records
    assert tags["dagster/input_event_pointer/readings"] == str(newest.storage_id)


def test_a_rewritten_day_replaces_its_rows_and_no_others(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of()
    root = readings(values)
    materialize([root], lake, instance, DAYS[0], DAYS[2])
    values[DAYS[1]] = [7]
    materialize([root], lake, instance, DAYS[1])
    assert stored(lake, root) == {day: values[day] for day in DAYS[:3]}


def test_a_range_is_one_commit(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(values_of())
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    (commit,) = lake.commits("readings")
    assert list(commit.manifest["partitions"]) == DAYS


def test_a_range_has_exactly_one_materialization_for_each_day_and_asset(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    root = readings(values_of())
    copy = made_from(root, "copy")
    result = materialize([root, copy], lake, instance, DAYS[0], DAYS[-1])
    for asset in (root, copy):
        assert {key: len(tags) for key, tags in events(result, asset).items()} == dict.fromkeys(DAYS, 1)
        records = instance.fetch_materializations(asset.key, limit=100).records
        assert sorted(r.partition_key or "" for r in records) == DAYS


def test_each_day_of_a_range_says_what_it_was_made_from(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of()
    root = readings(values)
    copy = made_from(root, "copy")
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    result = materialize([root, copy], lake, instance, DAYS[0], DAYS[-1], only=[copy])
    newest = instance.fetch_materializations(root.key, limit=1).records[0].storage_id
    for day, (tags,) in events(result, copy).items():
        assert day is not None
        assert tags["dagster/data_version"] == content_hash(frame_of(values, [day]))
        assert tags["dagster/code_version"] == "1"
        assert tags["dagster/input_data_version/readings"]
        assert tags["dagster/input_event_pointer/readings"] == str(newest)


def test_each_day_of_a_range_has_its_own_row_count_and_description(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = {DAYS[0]: [1], DAYS[1]: [2, 3], DAYS[2]: []}

    @lake_asset(contract=Reading, partitions_def=DAILY, describe=lambda rows: {"largest": rows["value"].max()})
    def described() -> pl.DataFrame:
        return frame_of(values)

    result = materialize([described], lake, instance, DAYS[0], DAYS[2])
    seen = {
        e.partition: e.step_materialization_data.materialization.metadata
        for e in result.get_asset_materialization_events()
    }
    assert [seen[day]["dagster/partition_row_count"].value for day in DAYS[:3]] == [1, 2, 0]
    assert [seen[day]["largest"].value for day in DAYS[:2]] == [1, 3]
    assert "largest" not in seen[DAYS[2]]


def test_the_manifest_names_each_upstream_partition_that_was_read(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(values_of())
    total = summed(root, -2)
    materialize([root, total], lake, instance, DAYS[0], DAYS[-1])
    materialize([root, total], lake, instance, DAYS[5], only=[total])
    read = manifest(lake, "summed", DAYS[5])["inputs"]["readings"]
    assert read == {
        "version": lake_version(lake, "readings"),
        "generation": 1,
        "partitions": {d: held(lake, root)[d].content_hash for d in DAYS[3:6]},
    }


def lake_version(lake: Lake, table: str) -> int:
    handle = lake.open(table)
    assert handle is not None
    return handle.version()


@pytest.mark.parametrize("days", [(DAYS[4],), (DAYS[0], DAYS[-1])], ids=["one day", "range"])
def test_a_window_gets_exactly_its_days(lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...]) -> None:
    root = readings(values_of())
    received: list[list[date]] = []

    @lake_asset(
        contract=Reading, partitions_def=DAILY, ins={"readings": dg.AssetIn(partition_mapping=windowed(-3, -1))}
    )
    def window(context: dg.AssetExecutionContext, readings: pl.LazyFrame) -> pl.DataFrame:
        received.append(readings.select("event_date").unique().sort("event_date").collect()["event_date"].to_list())
        return frame_of({}, context.partition_keys)

    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    assert materialize([root, window], lake, instance, *days, only=[window]).success
    expected = DAYS[1:4] if len(days) == 1 else DAYS[:-1]
    assert received == [[date.fromisoformat(d) for d in expected]]


def test_a_range_gives_each_day_what_its_own_run_gives(lake: Lake, instance: dg.DagsterInstance, tmp_path) -> None:
    root = readings(values_of())
    total = summed(root, -6)
    daily = Lake(str(tmp_path / "daily"))
    materialize([root, total], lake, instance, DAYS[0], DAYS[-1])
    for day in DAYS:
        assert materialize([root, total], daily, instance, day).success
    assert {k: (s.content_hash, s.inputs) for k, s in held(lake, total).items()} == {
        k: (s.content_hash, s.inputs) for k, s in held(daily, total).items()
    }


def test_a_chain_of_three_runs_every_step_on_what_the_step_before_has_written(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    values = values_of()
    first = readings(values)
    second = made_from(first, "second", transform=lambda rows: rows.with_columns(pl.col("value") * 2))
    third = made_from(second, "third", windowed(-2), transform=lambda rows: rows.with_columns(pl.col("value") + 1))
    result = materialize([first, second, third], lake, instance, DAYS[0], DAYS[-1])
    assert result.success
    assert [e.step_key for e in result.all_events if e.event_type_value == "STEP_SKIPPED"] == []
    assert stored(lake, third) == {day: [2 * v + 1 for v in values[day]] for day in DAYS}


def test_an_unpartitioned_asset_reads_every_day(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of()
    root = readings(values)
    whole = made_from(root, "whole", partitions_def=None)
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    result = materialize([root, whole], lake, instance, only=[whole])
    assert stored(lake, whole) == values
    assert list(held(lake, whole)) == [WHOLE]
    ((tags,),) = events(result, whole).values()
    assert tags["dagster/data_version"] == held(lake, whole)[WHOLE].content_hash


def test_a_dated_asset_reads_an_unpartitioned_one_as_a_whole(lake: Lake, instance: dg.DagsterInstance) -> None:
    @lake_asset(contract=Reading)
    def calibration() -> pl.DataFrame:
        return frame_of({DAYS[0]: [5]})

    @lake_asset(contract=Reading, partitions_def=DAILY)
    def shifted(context: dg.AssetExecutionContext, calibration: pl.LazyFrame) -> pl.DataFrame:
        (shift,) = calibration.collect()["value"]
        return frame_of({day: [shift] for day in context.partition_keys})

    materialize([calibration], lake, instance)
    materialize([calibration, shifted], lake, instance, DAYS[0], DAYS[1], only=[shifted])
    assert stored(lake, shifted) == {DAYS[0]: [5], DAYS[1]: [5]}
    assert manifest(lake, "shifted", DAYS[1])["inputs"]["calibration"]["partitions"] == {
        WHOLE: held(lake, calibration)[WHOLE].content_hash
    }


def test_a_week_reads_its_seven_days(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of()
    root = readings(values)
    weekly = made_from(root, "weekly", partitions_def=WEEKLY)
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    materialize([root, weekly], lake, instance, WEEKS[1], only=[weekly])
    assert stored(lake, weekly) == {WEEKS[1]: [v for day in DAYS[7:] for v in values[day]]}
    assert list(manifest(lake, "weekly", WEEKS[1])["inputs"]["readings"]["partitions"]) == DAYS[7:]


def test_an_empty_day_is_recorded_as_empty(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(values_of(DAYS[:1]))
    materialize([root], lake, instance, DAYS[0], DAYS[1])
    assert {k: s.rows for k, s in held(lake, root).items()} == {DAYS[0]: 3, DAYS[1]: 0}
    assert stored(lake, root) == values_of(DAYS[:1])


def test_a_day_that_becomes_empty_loses_its_rows(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of(DAYS[:2])
    root = readings(values)
    materialize([root], lake, instance, DAYS[0], DAYS[1])
    del values[DAYS[0]]
    materialize([root], lake, instance, DAYS[0])
    assert stored(lake, root) == {DAYS[1]: values[DAYS[1]]}


def test_a_new_column_leaves_the_old_days_as_they_were(lake: Lake, instance: dg.DagsterInstance) -> None:
    class WithUnit(Reading):
        unit: str = pa.Field(nullable=True)

    root = readings(values_of())
    materialize([root], lake, instance, DAYS[0], DAYS[1])
    before = held(lake, root)[DAYS[1]]

    @lake_asset(name="readings", contract=WithUnit, partitions_def=DAILY)
    def extended(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return frame_of(values_of(), context.partition_keys).with_columns(unit=pl.lit("m"))

    assert materialize([extended], lake, instance, DAYS[0]).success
    rows = lake.scan("readings").sort("event_date", "value").collect()
    assert rows["unit"].to_list() == ["m"] * 3 + [None] * 3
    assert held(lake, root)[DAYS[1]] == before


def test_a_column_that_changes_its_type_fails_the_run_and_changes_nothing(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    class AsText(pa.DataFrameModel):
        event_date: date
        value: str

    root = readings(values_of())
    materialize([root], lake, instance, DAYS[0])

    @lake_asset(name="readings", contract=AsText, partitions_def=DAILY)
    def retyped(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return frame_of(values_of(), context.partition_keys).with_columns(pl.col("value").cast(pl.String))

    result = materialize([retyped], lake, instance, DAYS[0])
    assert "SchemaConflict: readings.value: the table has" in failure(result)
    assert stored(lake, root) == values_of(DAYS[:1])


def test_rows_outside_the_run_s_partitions_fail_the_run_before_the_commit(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    @lake_asset(contract=Reading, partitions_def=DAILY)
    def unfiltered() -> pl.DataFrame:
        return frame_of(values_of())

    result = materialize([unfiltered], lake, instance, DAYS[0])
    assert "39 of 42 rows belong to 2024-01-02, 2024-01-03, 2024-01-04" in failure(result)
    assert lake.open("unfiltered") is None


def test_an_input_that_was_never_written_is_named(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(values_of())
    copy = made_from(root, "copy")
    result = materialize([root, copy], lake, instance, DAYS[0], only=[copy])
    assert "readings has never been written: materialize readings first" in failure(result)


def failure(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = (e for e in result.all_events if e.is_step_failure)
    return failed.step_failure_data.error_display_string


@pytest.mark.parametrize("annotation", [pl.LazyFrame, pl.DataFrame])
def test_a_plain_asset_reads_a_lake_table_in_the_type_of_its_annotation(
    lake: Lake, instance: dg.DagsterInstance, annotation: type
) -> None:
    received: list[pl.LazyFrame | pl.DataFrame] = []

    @dg.asset(
        partitions_def=DAILY, ins={"readings": dg.AssetIn(partition_mapping=windowed(-1), dagster_type=annotation)}
    )
    def report(readings) -> None:
        received.append(readings)

    root = readings(values_of())
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    assert materialize([root, report], lake, instance, DAYS[3], only=[report]).success
    assert type(received[0]) is annotation
    assert (
        received[0]
        .lazy()
        .sort("value")
        .collect()
        .select("event_date", "value")
        .equals(frame_of(values_of(), DAYS[2:4]))
    )


def test_an_asset_of_the_i_o_manager_that_commits_by_itself_may_return_nothing(lake: Lake) -> None:
    manager = LakeIOManager(root=lake.root)
    manager.handle_output(dg.build_output_context(asset_key=dg.AssetKey("readings")), None)
    assert lake.open("readings") is None
