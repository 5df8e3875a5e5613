"""The contract stands between an asset and its table: a bad day is not written, its neighbours are."""

import json

import dagster as dg
import polars as pl
import pytest

from convergence.lake.tables import Lake
from tests.resources.readings import (
    DAYS,
    Values,
    held,
    made_from,
    materialize,
    readings,
    stored,
    values_of,
)

BAD = DAYS[4]


def failures(result: dg.ExecuteInProcessResult) -> list[str]:
    return [e.step_failure_data.error_display_string for e in result.all_events if e.is_step_failure]


def quarantined(lake: Lake, table: str = "readings") -> dict[str, list[tuple[str, int]]]:
    """Day -> (reason, value) of the rows in quarantine."""
    rows = lake.scan(f"{table}_rejected").sort("event_date").collect()
    found: dict[str, list[tuple[str, int]]] = {}
    for day, reason, row in rows.select("event_date", "reason", "row").iter_rows():
        found.setdefault(str(day), []).append((reason, json.loads(row)["value"]))
    return found


def verdicts(instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> dict[str, str]:
    """The newest status of the contract check for each partition, as Dagster keeps it ("": the summary)."""
    key = dg.AssetCheckKey(asset.key, "contract")
    found: dict[str, str] = {}
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=1000):
        assert record.event is not None
        evaluation = record.event.dagster_event
        assert evaluation is not None
        found.setdefault(evaluation.asset_check_evaluation_data.partition or "", record.status.value)
    return found


def with_one_bad_day() -> Values:
    return values_of() | {BAD: [8, -1, 9, -2]}


def test_a_range_commits_its_good_days_at_once_and_leaves_the_bad_day_as_it_was(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    before = values_of()
    materialize([readings(before)], lake, instance, DAYS[0], DAYS[-1])
    after = {day: [v + 500 for v in values] for day, values in before.items()} | {BAD: [8, -1]}
    root = readings(after)
    result = materialize([root], lake, instance, DAYS[0], DAYS[-1])
    assert not result.success
    assert stored(lake, root) == after | {BAD: before[BAD]}
    _, commit = lake.commits("readings")
    assert list(commit.manifest["partitions"]) == [day for day in DAYS if day != BAD]


def test_one_failure_lists_the_bad_days_and_counts_their_rows(lake: Lake, instance: dg.DagsterInstance) -> None:
    result = materialize([readings(with_one_bad_day())], lake, instance, DAYS[0], DAYS[-1])
    (text,) = failures(result)
    assert f"readings: 1 of 14 partitions break the contract and were not written: {BAD}" in text
    assert "Found: 2 rows, e.g. value: greater_than_or_equal_to(0)" in text
    assert "look at table readings_rejected" in text


def test_a_failure_does_not_show_the_values_of_rows(lake: Lake, instance: dg.DagsterInstance) -> None:
    result = materialize([readings({DAYS[0]: [-123456]})], lake, instance, DAYS[0])
    (text,) = failures(result)
    assert "123456" not in text


def test_the_good_days_have_events_and_the_bad_day_has_none(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(with_one_bad_day())
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    records = instance.fetch_materializations(root.key, limit=100).records
    assert sorted(r.partition_key or "" for r in records) == [day for day in DAYS if day != BAD]


@pytest.mark.parametrize("days", [(DAYS[0], DAYS[-1]), (BAD,)], ids=["range", "one day"])
def test_the_offending_rows_are_kept_with_their_rule(
    lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...]
) -> None:
    materialize([readings(with_one_bad_day())], lake, instance, *days)
    rule = "value: greater_than_or_equal_to(0)"
    assert quarantined(lake) == {BAD: [(rule, -1), (rule, -2)]}


def test_the_check_of_each_day_of_a_range_can_be_seen(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(with_one_bad_day())
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    assert verdicts(instance, root) == dict.fromkeys(DAYS, "SUCCEEDED") | {BAD: "FAILED", "": "FAILED"}


def test_the_check_of_a_single_bad_day_can_be_seen(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(with_one_bad_day())
    materialize([root], lake, instance, BAD)
    assert verdicts(instance, root)[BAD] == "FAILED"


def test_the_check_of_a_single_good_day_can_be_seen(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(with_one_bad_day())
    materialize([root], lake, instance, DAYS[0])
    assert verdicts(instance, root) == {DAYS[0]: "SUCCEEDED"}


@pytest.mark.parametrize("days", [(DAYS[0], DAYS[-1]), (BAD,)], ids=["range", "one day"])
def test_what_reads_the_table_does_not_run(lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...]) -> None:
    root = readings(with_one_bad_day())
    copy = made_from(root, "copy")
    result = materialize([root, copy], lake, instance, *days)
    assert len(failures(result)) == 1
    assert "copy" not in {e.step_key for e in result.all_events if e.event_type_value == "STEP_START"}
    assert lake.open("copy") is None


def test_a_single_bad_day_keeps_its_old_rows(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of()
    root = readings(values)
    materialize([root], lake, instance, BAD)
    before = held(lake, root)
    values[BAD] = [-1]
    assert not materialize([root], lake, instance, BAD).success
    assert stored(lake, root) == {BAD: values_of()[BAD]}
    assert held(lake, root) == before


@pytest.mark.parametrize("days", [(DAYS[0], DAYS[-1]), (BAD,)], ids=["range", "one day"])
def test_a_corrected_run_clears_the_quarantine_of_its_days(
    lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...]
) -> None:
    values = values_of() | {BAD: [-1], DAYS[0]: [-2]}
    root = readings(values)
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    values[BAD] = [1]
    result = materialize([root], lake, instance, *days)
    assert result.success == (len(days) == 1)
    assert list(quarantined(lake)) == [DAYS[0]]
    assert stored(lake, root)[BAD] == [1]
    assert verdicts(instance, root)[BAD] == "SUCCEEDED"


def test_a_range_of_bad_days_only_writes_nothing(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings({day: [-1] for day in DAYS})
    (text,) = failures(materialize([root], lake, instance, DAYS[0], DAYS[-1]))
    assert f"{', '.join(DAYS[:10])} ..." in text
    assert lake.open("readings") is None
    assert len(quarantined(lake)) == len(DAYS)


def test_an_unpartitioned_asset_keeps_its_contract_too(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = readings(values_of())
    whole = made_from(
        root, "whole", partitions_def=None, transform=lambda rows: rows.with_columns(pl.col("value") - 11)
    )
    materialize([root], lake, instance, DAYS[0], DAYS[-1])
    assert not materialize([root, whole], lake, instance, only=[whole]).success
    assert lake.open("whole") is None
    assert quarantined(lake, "whole") == {DAYS[0]: [("value: greater_than_or_equal_to(0)", -1)]}
    assert verdicts(instance, whole) == {"": "FAILED"}
