"""The drift check: what it says of a day depends on the verdicts alone, and of many days on the newest."""

from collections.abc import Mapping
from datetime import date

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from asset_checks.drift import _judged, drift_check
from convergence.lake.tables import Lake
from convergence.monitoring.drift import DRIFT, STABLE, WATCH
from resources.lake import lake_asset
from tests.resources.readings import DAILY, DAYS, materialize

Verdicts = Mapping[str, str]


class Judged(pa.DataFrameModel):
    event_date: date
    feature: str
    effect: float = pa.Field(nullable=True)
    verdict: str
    note: str


def evaluations(
    lake: Lake, instance: dg.DagsterInstance, found: Mapping[str, Verdicts]
) -> list[dg.AssetCheckEvaluation]:
    """What the check says of these days, made in one run; a day without verdicts has no rows."""
    rows = [
        (date.fromisoformat(day), name, n / 3, verdict, f"note on {name}")
        for day, verdicts in found.items()
        for n, (name, verdict) in enumerate(verdicts.items())
    ]

    @lake_asset(contract=Judged, partitions_def=DAILY, key_prefix="uc", code_version="1")
    def drift(context: dg.AssetExecutionContext) -> pl.DataFrame:
        columns = ["event_date", "feature", "effect", "verdict", "note"]
        kinds = [pl.Date, pl.String, pl.Float64, pl.String, pl.String]
        return pl.DataFrame(rows, schema=dict(zip(columns, kinds, strict=True)), orient="row")

    check = drift_check(drift, name="drift", columns=("feature", "verdict", "effect", "note"), next_step="Do this.")
    days = [min(found), max(found)] if len(found) > 1 else list(found)
    result = materialize([drift], lake, instance, *days, extra=[check])
    return [e for e in result.get_asset_check_evaluations() if e.check_name == "drift"]


def test_a_stable_day_passes(lake: Lake, instance: dg.DagsterInstance) -> None:
    (said,) = evaluations(lake, instance, {DAYS[0]: {"a": STABLE, "b": STABLE}})
    assert said.passed
    assert said.description is None
    assert said.metadata["compared"].value == 2


@pytest.mark.parametrize(
    ("verdicts", "severity", "words"),
    [
        ({"a": STABLE, "b": WATCH}, dg.AssetCheckSeverity.WARN, "to be watched: b. Do this."),
        ({"a": DRIFT, "b": WATCH, "c": DRIFT}, dg.AssetCheckSeverity.ERROR, "drift: c, a. Do this."),
    ],
    ids=["watch", "drift"],
)
def test_a_day_that_is_not_stable_names_its_features_and_the_next_step(
    lake: Lake, instance: dg.DagsterInstance, verdicts: Verdicts, severity: dg.AssetCheckSeverity, words: str
) -> None:
    (said,) = evaluations(lake, instance, {DAYS[0]: verdicts})
    assert not said.passed
    assert not said.blocking
    assert said.severity is severity
    assert said.description == words
    table = said.metadata["verdicts"].records
    assert [r.data["feature"] for r in table] == [
        name for name in ("c", "a", "b") if verdicts.get(name) in (DRIFT, WATCH)
    ]
    assert said.metadata["next_step"].value == "Do this."


def test_a_run_over_many_days_judges_each_and_as_a_whole_the_newest_with_rows(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    found = {DAYS[0]: {"a": DRIFT}, DAYS[1]: {"a": WATCH}, DAYS[2]: {"a": STABLE}, DAYS[3]: {}}
    said = evaluations(lake, instance, found)
    of_days = {e.partition: (e.passed, e.severity.value) for e in said if e.partition}
    assert {day: passed for day, (passed, _) in of_days.items()} == {
        DAYS[0]: False,
        DAYS[1]: False,
        DAYS[2]: True,
        DAYS[3]: True,
    }
    assert [of_days[day][1] for day in DAYS[:2]] == ["ERROR", "WARN"]
    (whole,) = (e for e in said if not e.partition)
    assert whole.passed
    assert whole.metadata["day"].value == DAYS[2]


def test_a_day_without_rows_says_that_nothing_was_compared(lake: Lake, instance: dg.DagsterInstance) -> None:
    (said,) = evaluations(lake, instance, {DAYS[0]: {}})
    assert said.passed
    assert said.metadata["day"].value == "no rows: nothing was compared"


def test_a_column_that_left_has_no_numbers_in_the_table() -> None:
    rows = pl.DataFrame(
        {"event_date": [date(2024, 1, 1)], "feature": ["a"], "effect": [None], "verdict": [DRIFT]},
        schema_overrides={"effect": pl.Float64},
    )
    (record,) = _judged(rows, ("feature", "effect"), "")["metadata"]["verdicts"].records
    assert record.data == {"feature": "a", "effect": ""}
