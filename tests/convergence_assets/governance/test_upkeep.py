"""Housekeeping changes the number of files, and no row, state or version that anybody needs."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import polars as pl

from convergence.lake.manifests import MANIFESTS, InputRead, Provenance, build_manifest, record, states
from convergence.lake.tables import Lake, by_day
from convergence_assets.governance.contracts import LakeUpkeep
from convergence_assets.governance.definitions import upkeep_every_night
from convergence_assets.governance.upkeep import keep_up, lake_upkeep, stored_as_written, upkeep_job
from resources.lake import LakeIOManager
from tests.convergence.lake.frames import TABLE as TRANSACTIONS
from tests.convergence.lake.frames import day, rows, write

TABLE = "shop/raw_orders"


def append(lake: Lake, number: int) -> None:
    time = datetime(2024, 1, 1 + number % 2, 12, tzinfo=UTC)
    rows = pl.DataFrame({"event_date": [time.date()], "number": [number]})
    manifest = build_manifest(by_day(rows), "append", Provenance(f"run {number}", "1"))
    lake.append(TABLE, rows, manifest, {"topic/0": number + 1}, lake.open(TABLE), dated=True)
    record(lake, [TABLE])


def fragmented(lake: Lake, commits: int = 30) -> Lake:
    for number in range(commits):
        append(lake, number)
    return lake


def test_each_partition_becomes_one_file_with_the_same_rows_and_states(lake: Lake) -> None:
    fragmented(lake)
    before, held = lake.scan(TABLE).sort("number").collect(), states(lake, [TABLE])
    report = {row["table"]: row for row in keep_up(lake).iter_rows(named=True)}
    assert (report[TABLE]["files_before"], report[TABLE]["files_after"]) == (30, 2)
    assert (report[MANIFESTS]["files_before"], report[MANIFESTS]["files_after"]) == (30, 1)
    assert lake.scan(TABLE).sort("number").collect().equals(before)
    assert states(lake, [TABLE]) == held


def test_landing_goes_on_where_it_was(lake: Lake) -> None:
    keep_up(fragmented(lake))
    handle = lake.open(TABLE)
    assert handle is not None
    assert handle.transaction_version("topic/0") == 30
    append(lake, 30)
    assert lake.scan(TABLE).collect().height == 31


def test_an_earlier_version_is_still_there(lake: Lake) -> None:
    handle = fragmented(lake).open(TABLE)
    assert handle is not None
    keep_up(lake)
    assert lake.scan(TABLE, version=handle.version()).collect().height == 30


def test_files_of_old_versions_go_except_those_that_a_partition_that_counts_was_made_from(lake: Lake) -> None:
    write(lake, rows(0, 1), rows(1, 2))
    held = {k: s.content_hash for k, s in states(lake, [TRANSACTIONS])[TRANSACTIONS].items()}
    reads = {day(0): {TRANSACTIONS: [day(0)]}}
    provenance = Provenance("run", "1", inputs={TRANSACTIONS: InputRead(1, held)}, reads=reads)
    write(lake, rows(0, 1), table="fraud/fraud_model", provenance=provenance)
    for value in (10, 20):
        write(lake, rows(0, value), rows(1, value))

    report = {row["table"]: row for row in keep_up(lake, timedelta(0)).iter_rows(named=True)}

    assert report[TRANSACTIONS]["files_deleted"] == 2  # of the version in between
    assert sorted(lake.scan(TRANSACTIONS, version=1).collect()["value"]) == [1, 2]
    assert lake.scan(TRANSACTIONS).collect()["value"].to_list() == [20, 20]


def test_a_table_in_good_order_is_left_alone(lake: Lake) -> None:
    keep_up(fragmented(lake))
    handle = lake.open(TABLE)
    keep_up(lake)
    again = lake.open(TABLE)
    assert handle is not None
    assert again is not None
    assert again.version() == handle.version()


def test_the_asset_reports_every_table(lake: Lake, instance: dg.DagsterInstance, tmp_path: Path) -> None:
    fragmented(lake, commits=4)
    result = dg.materialize([lake_upkeep], resources={"lake": LakeIOManager(root=lake.root)}, instance=instance)
    (event,) = result.asset_materializations_for_node("governance__lake_upkeep")
    assert event.metadata["files_before"].value == 8
    report = lake.scan("governance/lake_upkeep").collect()
    LakeUpkeep.validate(report, lazy=True)
    assert set(report["table"]) == {TABLE, MANIFESTS}


def test_it_is_done_every_night() -> None:
    assert upkeep_every_night.default_status is dg.DefaultScheduleStatus.RUNNING
    assert upkeep_every_night.cron_schedule == "30 3 * * *"


def harmed(lake: Lake, table: str) -> Path:
    """A file of the table, with one bit of it flipped."""
    handle = lake.open(table)
    assert handle is not None
    file = Path(handle.file_uris()[0])
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    return file


def test_what_is_damaged_is_found_every_night_and_left_for_its_repair(lake: Lake, instance: dg.DagsterInstance) -> None:
    fragmented(lake, commits=4)
    write(lake, rows(0, 1))
    write(lake, rows(0, 2))
    file = harmed(lake, TRANSACTIONS)

    job = dg.Definitions(
        assets=[lake_upkeep],
        asset_checks=[stored_as_written],
        jobs=[upkeep_job],
        resources={"lake": LakeIOManager(root=lake.root)},
    ).resolve_job_def("upkeep")
    result = job.execute_in_process(instance=instance)

    told = {check.check_name: check for check in result.get_asset_check_evaluations()}["stored_as_written"]
    assert not told.passed
    assert told.severity is dg.AssetCheckSeverity.ERROR
    assert told.description is not None
    assert told.description.startswith(f"{TRANSACTIONS}@{day(0)} version 2: file event_date={day(0)}/{file.name} does")
    report = {row["table"]: row for row in lake.scan("governance/lake_upkeep").collect().iter_rows(named=True)}
    assert (report[TRANSACTIONS]["damaged"], report[TABLE]["damaged"]) == (1, 0)
    assert (report[TABLE]["files_before"], report[TABLE]["files_after"]) == (4, 2)


def test_nothing_of_a_damaged_table_is_deleted_and_nothing_at_all_without_manifests(lake: Lake) -> None:
    write(lake, rows(0, 1))
    write(lake, rows(0, 2))
    fragmented(lake, commits=4)
    harmed(lake, TRANSACTIONS)
    report = {row["table"]: row for row in keep_up(lake, timedelta(0)).iter_rows(named=True)}
    assert report[TRANSACTIONS]["files_deleted"] == 0
    assert report[TABLE]["files_deleted"] == 4

    harmed(lake, MANIFESTS)
    assert keep_up(lake, timedelta(0))["files_deleted"].sum() == 0
