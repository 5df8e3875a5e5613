import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from convergence.lake.manifests import states
from resources.graph import lake_nodes
from resources.lake import LakeIOManager, lake_asset
from resources.recovery import PROCESS, fail_orphans, report_unrecorded

DAILY = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05")


class Reading(pa.DataFrameModel):
    event_date: date
    value: int


@lake_asset(contract=Reading, partitions_def=DAILY, key_prefix="uc", code_version="1")
def readings(context: dg.AssetExecutionContext) -> pl.DataFrame:
    return pl.DataFrame([{"event_date": date.fromisoformat(k), "value": 1} for k in context.partition_keys])


def test_partitions_committed_without_an_event_are_reported_once(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    days = DAILY.get_partition_keys()
    whole = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    io_manager = LakeIOManager(root=str(tmp_path))
    with dg.DagsterInstance.ephemeral() as lost:  # the instance that knew of the run
        dg.materialize([readings], tags=whole, resources={"lake": io_manager}, instance=lost)
    nodes = lake_nodes(readings.specs)

    assert report_unrecorded(instance, io_manager.lake, nodes) == len(days)

    assert instance.get_materialized_partitions(readings.key) == set(days)
    record = instance.fetch_materializations(dg.AssetRecordsFilter(readings.key, asset_partitions=[days[1]]), limit=1)
    tags = record.records[0].asset_materialization.tags
    held = states(io_manager.lake, ["uc/readings"])["uc/readings"]
    assert tags["dagster/data_version"] == held[days[1]].content_hash
    assert report_unrecorded(instance, io_manager.lake, nodes) == 0


def test_nothing_is_reported_of_a_run_that_ended_well(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    io_manager = LakeIOManager(root=str(tmp_path))
    dg.materialize([readings], partition_key="2024-01-02", resources={"lake": io_manager}, instance=instance)
    assert report_unrecorded(instance, io_manager.lake, lake_nodes(readings.specs)) == 0


@pytest.mark.parametrize(("alive", "status"), [(False, "FAILURE"), (True, "STARTED")])
def test_a_run_whose_process_is_gone_is_failed_and_no_other(
    alive: bool, status: str, instance: dg.DagsterInstance
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    defs = dg.Definitions(assets=[readings], resources={"lake": LakeIOManager(root="nowhere")})
    job = defs.resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(
        job, status=dg.DagsterRunStatus.STARTED, tags={PROCESS: str(os.getpid() if alive else gone.pid)}
    )
    assert fail_orphans(instance) == ([] if alive else [run.run_id])
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    assert found.status.value == status
