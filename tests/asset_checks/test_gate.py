"""What the gate's verdict does to a run: a refusal warns, a week without champion blocks."""

import json
from datetime import date

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from asset_checks.gate import gate_check
from convergence.lake.contracts import StrictColumns
from convergence.lake.tables import Lake
from resources.lake import LakeIOManager, lake_asset

DAYS = dg.DailyPartitionsDefinition("2018-08-01", end_date="2018-08-04")
KEYS = DAYS.get_partition_keys()


class Decision(pa.DataFrameModel):
    """A decision of a day."""

    event_date: date
    challenger_version: str
    promoted: bool
    reason: str
    gate: str

    class Config(StrictColumns):
        """Columns are as declared."""


def row(day: str, *, latency: bool = True, promoted: bool | None = None) -> dict[str, object]:
    rules = [
        {"rule": "calibration", "value": 0.001, "limit": 0.003, "passed": True},
        {"rule": "latency", "value": None if latency is None else 0.1, "limit": 0.2, "passed": latency},
    ]
    return {
        "event_date": date.fromisoformat(day),
        "challenger_version": f"v{day}",
        "promoted": latency if promoted is None else promoted,
        "reason": f"v{day} {'passes' if latency else 'is refused: latency FAILED'}.",
        "gate": json.dumps(rules),
    }


def run(lake: Lake, instance: dg.DagsterInstance, rows: list[dict[str, object]], first: str, last: str):
    @lake_asset(contract=Decision, partitions_def=DAYS)
    def decisions() -> pl.DataFrame:
        """Decisions."""
        schema = {"event_date": pl.Date, "challenger_version": pl.String, "promoted": pl.Boolean, "reason": pl.String}
        return pl.DataFrame(rows, schema={**schema, "gate": pl.String})

    @dg.asset(deps=[decisions])
    def scores() -> None:
        """What needs a champion."""

    job = dg.Definitions(
        assets=[decisions, scores],
        asset_checks=[gate_check(decisions)],
        resources={"lake": LakeIOManager(root=lake.root)},
        executor=dg.in_process_executor,
    ).resolve_implicit_global_asset_job_def()
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    result = job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    checks = [e for e in result.get_asset_check_evaluations() if e.check_name == "gate"]
    return checks, bool(result.asset_materializations_for_node("scores"))


def test_a_promotion_passes_and_shows_its_rules(lake: Lake, instance: dg.DagsterInstance) -> None:
    (check,), went_on = run(lake, instance, [row(KEYS[0])], KEYS[0], KEYS[0])
    assert check.passed
    assert went_on
    rules = check.metadata["rules"]
    assert isinstance(rules, dg.TableMetadataValue)
    assert [r.data["rule"] for r in rules.records] == ["calibration", "latency"]


def test_a_refused_challenger_warns_in_words_and_the_champion_serves_on(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    (check,), went_on = run(lake, instance, [row(KEYS[0], latency=False)], KEYS[0], KEYS[0])
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "is refused: latency FAILED" in str(check.description)
    assert went_on


@pytest.mark.parametrize(
    ("rows", "words"),
    [([], "nobody serve"), ([row(KEYS[0], latency=False, promoted=True)], "promoted is True, its rules say False")],
    ids=["nobody", "contradiction"],
)
def test_where_nobody_may_serve_nothing_downstream_starts(
    rows: list[dict[str, object]], words: str, lake: Lake, instance: dg.DagsterInstance
) -> None:
    (check,), went_on = run(lake, instance, rows, KEYS[0], KEYS[0])
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert words in str(check.description)
    assert not went_on


def test_each_day_of_a_range_has_its_own_verdict(lake: Lake, instance: dg.DagsterInstance) -> None:
    rows = [row(KEYS[0]), row(KEYS[1], latency=False), row(KEYS[2])]
    checks, went_on = run(lake, instance, rows, KEYS[0], KEYS[2])
    assert {c.partition: c.passed for c in checks if c.partition} == {KEYS[0]: True, KEYS[1]: False, KEYS[2]: True}
    assert went_on
