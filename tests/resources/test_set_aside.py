"""What an asset could not make into rows is set aside with the reason, and its partition does not fail over it."""

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import dagster as dg
import polars as pl
import pytest

from convergence.lake.contracts import REJECTED
from convergence.lake.tables import Lake
from resources.described import Described
from resources.lake import lake_asset
from tests.resources.readings import DAILY, DAYS, Reading, Values, frame_of, materialize, stored, values_of

Aside = dict[str, list[str]]  # day -> reasons
RANGE = (DAYS[0], DAYS[-1])
DAMAGED, HUGE = "damaged", "50000 x 50000 pixels, at most 40000000"


def rejected(rows: list[tuple[date | None, str | None]]) -> pl.DataFrame:
    return pl.DataFrame([(*row, json.dumps({"value": None})) for row in rows], REJECTED, orient="row")


def images(values: Values, aside: Aside | pl.DataFrame, partitioned: bool = True) -> dg.AssetsDefinition:
    """A table that holds `values` and sets `aside` aside, as both are when it is materialized."""

    @lake_asset(contract=Reading, partitions_def=DAILY if partitioned else None, code_version="1")
    def images(context: dg.AssetExecutionContext) -> Described:
        days = context.partition_keys if partitioned else DAYS
        if isinstance(aside, pl.DataFrame):
            return Described(frame_of(values, days), set_aside=aside)
        rows = [(date.fromisoformat(day), reason) for day in days for reason in aside.get(day, [])]
        return Described(frame_of(values, days), set_aside=rejected(rows))

    return images


def waiting(lake: Lake) -> Aside:
    """Day -> reasons of what is set aside."""
    if lake.open("images_rejected") is None:
        return {}
    found: Aside = {}
    for day, reason in lake.scan("images_rejected").select("event_date", "reason").collect().sort(pl.all()).iter_rows():
        found.setdefault(str(day), []).append(reason)
    return found


def counts(instance: dg.DagsterInstance, asset: dg.AssetsDefinition) -> dict[str, Any]:
    """Day -> newest count of rows set aside, in the metadata of its materialization."""
    records = instance.fetch_materializations(asset.key, limit=100).records
    return {
        str(record.partition_key): found.value
        for record in reversed(records)
        if (materialization := record.asset_materialization)
        and (found := materialization.metadata.get("rows_set_aside"))
    }


def checked(result: dg.ExecuteInProcessResult) -> dict[str | None, Mapping[str, Any]]:
    """Partition -> metadata of the contract check; None: of the run as a whole."""
    return {
        evaluation.partition: {name: found.value for name, found in evaluation.metadata.items()}
        for evaluation in result.get_asset_check_evaluations()
    }


@pytest.mark.parametrize("days", [RANGE, (DAYS[1],)], ids=["range", "one day"])
def test_rows_set_aside_wait_with_their_reason_and_the_others_are_written(
    lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...]
) -> None:
    root = images(values_of(), {DAYS[1]: [HUGE, DAMAGED]})
    assert materialize([root], lake, instance, *days).success
    assert waiting(lake) == {DAYS[1]: [HUGE, DAMAGED]}
    assert stored(lake, root)[DAYS[1]] == values_of()[DAYS[1]]


def test_the_event_and_the_check_of_each_day_say_how_many(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = images(values_of(), {DAYS[1]: [DAMAGED, HUGE], DAYS[3]: [DAMAGED]})
    result = materialize([root], lake, instance, *RANGE)
    expected = dict.fromkeys(DAYS, 0) | {DAYS[1]: 2, DAYS[3]: 1}
    assert counts(instance, root) == expected
    found = checked(result)
    assert found.pop(None) == {"partitions": len(DAYS), "rows_rejected": 0, "rows_set_aside": 3}
    assert {day: of["rows_set_aside"] for day, of in found.items()} == expected


def test_a_run_of_one_day_says_how_many_too(lake: Lake, instance: dg.DagsterInstance) -> None:
    root = images(values_of(), {DAYS[1]: [DAMAGED, HUGE]})
    ((_, metadata),) = checked(materialize([root], lake, instance, DAYS[1])).items()
    assert metadata == {"partitions": 1, "rows_rejected": 0, "rows_set_aside": 2}
    assert counts(instance, root) == {DAYS[1]: 2}


@pytest.mark.parametrize("days", [RANGE, (DAYS[1],)], ids=["range", "one day"])
def test_running_again_replaces_what_was_set_aside(
    lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...]
) -> None:
    aside = {DAYS[1]: [DAMAGED, HUGE], DAYS[2]: [DAMAGED]}
    root = images(values_of(), aside)
    materialize([root], lake, instance, *RANGE)
    materialize([root], lake, instance, *days)
    assert waiting(lake) == {DAYS[1]: [HUGE, DAMAGED], DAYS[2]: [DAMAGED]}
    aside[DAYS[1]] = [HUGE]
    materialize([root], lake, instance, *days)
    assert waiting(lake) == {DAYS[1]: [HUGE], DAYS[2]: [DAMAGED]}
    aside[DAYS[1]] = []
    materialize([root], lake, instance, *days)
    assert waiting(lake) == {DAYS[2]: [DAMAGED]}
    assert counts(instance, root)[DAYS[1]] == 0


def test_a_day_that_breaks_its_contract_as_well_keeps_both(lake: Lake, instance: dg.DagsterInstance) -> None:
    values = values_of() | {DAYS[1]: [-1]}
    root = images(values, {DAYS[1]: [DAMAGED], DAYS[2]: [HUGE]})
    result = materialize([root], lake, instance, *RANGE)
    assert not result.success
    both = [DAMAGED, "value: greater_than_or_equal_to(0)"]
    assert waiting(lake) == {DAYS[1]: both, DAYS[2]: [HUGE]}
    assert checked(result)[DAYS[1]] == {"rows_rejected": 1, "rows_set_aside": 1}
    values[DAYS[1]] = [1]
    assert materialize([root], lake, instance, DAYS[1]).success
    assert waiting(lake) == {DAYS[1]: [DAMAGED], DAYS[2]: [HUGE]}


def test_a_day_without_any_row_can_set_all_aside(lake: Lake, instance: dg.DagsterInstance) -> None:
    assert materialize([images({}, {DAYS[0]: [DAMAGED]})], lake, instance, DAYS[0]).success
    assert waiting(lake) == {DAYS[0]: [DAMAGED]}


def test_an_asset_without_partitions_sets_rows_aside_too(lake: Lake, instance: dg.DagsterInstance) -> None:
    aside = {DAYS[1]: [DAMAGED]}
    root = images(values_of(), aside, partitioned=False)
    for _ in range(2):
        assert materialize([root], lake, instance).success
        assert waiting(lake) == aside
    aside.clear()
    materialize([root], lake, instance)
    assert waiting(lake) == {}


def test_an_asset_that_sets_nothing_aside_makes_no_table_of_it(lake: Lake, instance: dg.DagsterInstance) -> None:
    materialize([images(values_of(), {})], lake, instance, *RANGE)
    assert lake.open("images_rejected") is None


@pytest.mark.parametrize(
    ("aside", "why"),
    [
        (rejected([(date(2030, 1, 1), DAMAGED)]), "outside 2024-01-01 to 2024-01-01"),
        (rejected([(None, DAMAGED)]), "or to none"),
        (rejected([(date(2024, 1, 1), None)]), "each with a reason"),
        (rejected([]).drop("row"), "with the columns"),
    ],
    ids=["another day", "no day", "no reason", "no row"],
)
def test_what_cannot_be_set_aside_fails_the_run_and_nothing_is_written(
    lake: Lake, instance: dg.DagsterInstance, aside: pl.DataFrame, why: str
) -> None:
    result = materialize([images(values_of(), aside)], lake, instance, DAYS[0])
    (text,) = [e.step_failure_data.error_display_string for e in result.all_events if e.is_step_failure]
    assert why in text
    assert lake.open("images") is None
    assert waiting(lake) == {}
