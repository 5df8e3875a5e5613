"""Dagster is told of partitions that were landed outside a run, as often as they change."""

from pathlib import Path

import dagster as dg

from convergence.lake.tables import Lake
from resources.arrivals import report_landed
from tests.convergence.arrivals.landing import TABLE, TOPIC, drop, landed, message

KEY = dg.AssetKey(TABLE.split("/"))


def test_a_day_that_grows_is_reported_each_time_with_its_newest_version(
    lake: Lake, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    versions = []
    for number in (1, 2, 3):
        drop(tmp_path, f"{number}.jsonl", message(number))
        report_landed(instance, lake, TOPIC, landed(lake, tmp_path).days, "kafka nowhere")
        event = instance.get_latest_materialization_event(KEY)
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.partition == "2024-01-05"
        assert event.asset_materialization.metadata["dagster/partition_row_count"].value == number
        assert event.asset_materialization.metadata["source"].value == "kafka nowhere"
        versions.append((event.asset_materialization.tags or {})["dagster/data_version"])
    assert len(set(versions)) == 3


def test_the_check_that_a_commit_implies_is_reported_with_it(
    lake: Lake, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    drop(tmp_path, "a.jsonl", message(1))
    report_landed(instance, lake, TOPIC, landed(lake, tmp_path).days, "kafka nowhere")
    record = instance.get_latest_asset_check_evaluation_record(dg.AssetCheckKey(KEY, "contract"))
    assert record is not None
    assert record.status.value == "SUCCEEDED"
