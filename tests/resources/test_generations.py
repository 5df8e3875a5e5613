"""Runs and ticks see the generations that count when they begin, and keep to them until they end."""

import dagster as dg
import polars as pl
import pytest

from convergence.lake.generations import complete, reserve, switch
from convergence.lake.manifests import Provenance, build_manifest, manifest, record
from convergence.lake.tables import Lake
from resources.lake import LakeIOManager
from tests.resources.readings import DAYS, frame_of, made_from, materialize, readings, values_of

DAY = DAYS[0]
TABLE = "readings"


def next_generation(lake: Lake) -> Lake:
    """A new generation of `readings`, complete but not switched to."""
    generation = reserve(lake.store, TABLE)
    complete(lake.store, TABLE, generation, [TABLE])
    return lake.at({TABLE: generation})


def commit(lake: Lake, *values: int) -> None:
    """Another writer's commit of the first day."""
    rows = {DAY: frame_of({DAY: list(values)})}
    lake.replace(TABLE, rows, build_manifest(rows, "replace", Provenance("other", "1")), lake.open(TABLE))
    record(lake, [TABLE])


def value(lake: Lake, table: str) -> list[int]:
    return Lake(lake.root).scan(table, [DAY]).collect()["value"].sort().to_list()


def generation_read(lake: Lake) -> int:
    return manifest(Lake(lake.root), "copy", DAY)["inputs"][TABLE]["generation"]


def test_each_run_of_one_loaded_graph_sees_the_newest_switch(lake: Lake, instance: dg.DagsterInstance) -> None:
    source = readings(values_of())
    copy = made_from(source, "copy")
    job = dg.Definitions(
        [source, copy], resources={"lake": LakeIOManager(root=lake.root)}, executor=dg.in_process_executor
    ).resolve_implicit_global_asset_job_def()

    def run() -> bool:
        return job.execute_in_process(
            instance=instance, asset_selection=[copy.key], tags={"dagster/partition": DAY}, raise_on_error=False
        ).success

    commit(lake, 1)
    commit(next_generation(lake), 2)
    assert run()
    assert (value(lake, "copy"), generation_read(lake)) == ([1], 1)

    switch(lake.store, TABLE, 2)

    assert run()
    assert (value(lake, "copy"), generation_read(lake)) == ([2], 2)


def test_each_tick_of_one_loaded_graph_sees_the_newest_switch(lake: Lake, instance: dg.DagsterInstance) -> None:
    seen = []

    @dg.sensor(required_resource_keys={"lake"}, asset_selection=dg.AssetSelection.all())
    def look(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        seen.append(context.resources.lake.lake.generation(TABLE))
        return dg.SkipReason()

    definitions = dg.Definitions(sensors=[look], resources={"lake": LakeIOManager(root=lake.root)})
    loaded = definitions.get_repository_def().get_top_level_resources()  # once, as in a code server
    next_generation(lake)
    for generation in (1, 2, 1):
        switch(lake.store, TABLE, generation)
        look.evaluate_tick(dg.build_sensor_context(instance, definitions=definitions, resources=loaded))
    assert seen == [1, 2, 1]


def test_a_run_goes_on_in_the_generation_that_it_began_in(lake: Lake, instance: dg.DagsterInstance) -> None:
    source = readings(values_of())
    commit(lake, 1)
    beside = next_generation(lake)
    commit(beside, 2)

    def switched(frame: pl.LazyFrame) -> pl.LazyFrame:
        switch(lake.store, TABLE, 2)
        return frame

    copy = made_from(source, "copy", transform=switched)
    assert materialize([source, copy], lake, instance, DAY, only=[copy]).success
    assert (value(lake, "copy"), generation_read(lake)) == ([1], 1)


def test_a_table_made_in_the_old_generation_is_made_again_in_a_younger_one(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    source = readings(values_of())
    copy = made_from(source, "copy")
    for number in range(4):  # the old generation's versions are higher than those of the new one
        commit(lake, number)
    assert materialize([source, copy], lake, instance, DAY, only=[copy]).success
    commit(next_generation(lake), 9)
    for generation, expected in ((2, [9]), (1, [3]), (2, [9])):
        switch(lake.store, TABLE, generation)
        assert materialize([source, copy], lake, instance, DAY, only=[copy]).success
        assert (value(lake, "copy"), generation_read(lake)) == (expected, generation)


def test_a_run_of_before_the_switch_does_not_overwrite_one_of_after_it(
    lake: Lake, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = readings(values_of())
    for number in range(4):
        commit(lake, number)
    commit(next_generation(lake), 9)
    now = made_from(source, "copy")
    load = LakeIOManager.load_input

    def overtaken(self: LakeIOManager, context: dg.InputContext) -> object:
        """What is read was read before the switch, and before somebody else made the table."""
        snapshot = load(self, context)
        monkeypatch.setattr(LakeIOManager, "load_input", load)
        switch(lake.store, TABLE, 2)
        assert materialize([source, now], lake, instance, DAY, only=[now]).success
        return snapshot

    monkeypatch.setattr(LakeIOManager, "load_input", overtaken)
    result = materialize([source, now], lake, instance, DAY, only=[now])

    (failed,) = (e for e in result.all_events if e.is_step_failure)
    assert "copy was made from a newer readings after this run had read it" in str(failed.step_failure_data)
    assert (value(lake, "copy"), generation_read(lake)) == ([9], 2)


def test_a_resource_can_be_held_to_a_generation(lake: Lake) -> None:
    commit(lake, 1)
    beside = next_generation(lake)
    commit(beside, 2)
    held = LakeIOManager(root=lake.root, generations={TABLE: 2}).lake
    switch(lake.store, TABLE, 1)
    assert held.scan(TABLE).collect()["value"].to_list() == [2]
