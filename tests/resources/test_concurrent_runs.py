"""A run that another writer overtook loses: its rows were made from what is no longer there."""

import dagster as dg
import polars as pl

from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import WHOLE, Lake
from resources.lake import LakeIOManager, lake_asset
from tests.resources.readings import DAILY, DAYS, Reading, frame_of, held, materialize, stored


def commit(lake: Lake, day: str, value: int) -> None:
    """Another writer's commit of one day."""
    rows = {day: frame_of({day: [value]})}
    lake.replace("raced", rows, build_manifest(rows, "replace", Provenance("other", "1")), lake.open("raced"))


def raced(lake: Lake, *days: str) -> dg.AssetsDefinition:
    """An asset during whose step somebody else commits `days`."""

    @lake_asset(contract=Reading, partitions_def=DAILY, code_version="1")
    def raced(context: dg.AssetExecutionContext) -> pl.DataFrame:
        for day in days:
            commit(lake, day, 99)
        return frame_of({day: [1] for day in context.partition_keys})

    return raced


def failure(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = (e for e in result.all_events if e.is_step_failure)
    return failed.step_failure_data.error_display_string


def test_a_run_loses_when_its_day_was_committed_after_it_began(lake: Lake, instance: dg.DagsterInstance) -> None:
    asset = raced(lake, DAYS[0])
    commit(lake, DAYS[0], 5)
    result = materialize([asset], lake, instance, DAYS[0])
    assert f"raced {DAYS[0]} changed while you were writing" in failure(result)
    assert stored(lake, asset) == {DAYS[0]: [99]}
    assert instance.fetch_materializations(asset.key, limit=1).records == []


def test_a_range_loses_as_a_whole_when_one_of_its_days_was_committed(lake: Lake, instance: dg.DagsterInstance) -> None:
    asset = raced(lake, DAYS[3])
    commit(lake, DAYS[3], 5)
    result = materialize([asset], lake, instance, DAYS[0], DAYS[-1])
    assert f"raced {DAYS[3]} changed while you were writing" in failure(result)
    assert stored(lake, asset) == {DAYS[3]: [99]}


def test_a_run_loses_when_somebody_else_made_the_table_with_its_day(lake: Lake, instance: dg.DagsterInstance) -> None:
    asset = raced(lake, DAYS[0])
    result = materialize([asset], lake, instance, DAYS[0])
    assert f"raced {DAYS[0]} changed while you were writing" in failure(result)
    assert stored(lake, asset) == {DAYS[0]: [99]}


def test_a_run_wins_when_other_days_were_committed(lake: Lake, instance: dg.DagsterInstance) -> None:
    asset = raced(lake, DAYS[1], DAYS[2])
    assert materialize([asset], lake, instance, DAYS[0]).success
    assert stored(lake, asset) == {DAYS[0]: [1], DAYS[1]: [99], DAYS[2]: [99]}
    assert held(lake, asset)[DAYS[0]].run_id != "other"


def test_an_unpartitioned_table_has_one_winner(lake: Lake, instance: dg.DagsterInstance) -> None:
    @lake_asset(contract=Reading)
    def raced() -> pl.DataFrame:
        rows = {WHOLE: frame_of({DAYS[0]: [99]})}
        lake.replace("raced", rows, build_manifest(rows, "replace", Provenance("other", "1")), lake.open("raced"))
        return frame_of({DAYS[0]: [1]})

    assert "changed while you were writing" in failure(materialize([raced], lake, instance))
    assert stored(lake, raced) == {DAYS[0]: [99]}


def test_a_run_reads_each_input_at_the_version_it_found_first(lake: Lake, instance: dg.DagsterInstance) -> None:
    commit(lake, DAYS[0], 5)

    @lake_asset(contract=Reading, partitions_def=DAILY, ins={"raced": dg.AssetIn("raced")})
    def reader(raced: pl.LazyFrame) -> pl.LazyFrame:
        commit(lake, DAYS[0], 99)
        return raced

    source = dg.AssetSpec("raced", partitions_def=DAILY)
    result = dg.materialize(
        [reader, source.with_io_manager_key("lake")],
        selection=[reader],
        partition_key=DAYS[0],
        resources={"lake": LakeIOManager(root=lake.root)},
        instance=instance,
    )
    assert result.success
    assert stored(lake, reader) == {DAYS[0]: [5]}
