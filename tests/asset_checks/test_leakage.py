"""The leakage check in runs: it names what leaks, per day, and nothing is made from leaking rows."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from asset_checks.leakage import leakage_check
from convergence.features.leakage import KINDS, Compute
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake, by_day
from resources.lake import lake_asset
from tests.convergence.features import planted
from tests.convergence.features.planted import KNOWN, LEAKS, VIEW, honest
from tests.resources.readings import DAILY, DAYS, Reading, materialize, windowed

FIRST, LAST = DAYS[8], DAYS[10]
Time = Annotated[pl.Datetime, "us", "UTC"]


class Features(pa.DataFrameModel):
    event_date: date
    payment_id: int
    event_time: Time
    arrived_at: Time

    class Config:
        strict = False


def source(name: str) -> dg.AssetSpec:
    return dg.AssetSpec(["uc", name], partitions_def=DAILY)


def graph(compute: Compute) -> tuple[list[dg.AssetsDefinition], dg.AssetChecksDefinition]:
    """A feature table with its leakage check, and a table made from it.

    It reads labels up to its own day, as one must to leak them: the window of the view alone would not hold them.
    """

    @lake_asset(
        contract=Features,
        partitions_def=DAILY,
        key_prefix="uc",
        ins={
            "payments": dg.AssetIn(["uc", "payments"], partition_mapping=windowed(*VIEW.reach_back("payments"))),
            "labels": dg.AssetIn(["uc", "labels"], partition_mapping=windowed(VIEW.reach_back("labels")[0])),
        },
    )
    def features(context: dg.AssetExecutionContext, payments: pl.LazyFrame, labels: pl.LazyFrame) -> pl.DataFrame:
        days = [datetime.fromisoformat(key).replace(tzinfo=UTC) for key in context.partition_keys]
        return compute(payments, labels, start=days[0], end=days[-1] + timedelta(days=1))

    @lake_asset(
        contract=Reading, partitions_def=DAILY, key_prefix="uc", ins={"features": dg.AssetIn(["uc", "features"])}
    )
    def trained(features: pl.LazyFrame) -> pl.LazyFrame:
        return features.select("event_date", value="payment_id")

    return [features, trained], leakage_check(features, VIEW, compute, sources=KNOWN)


def run(
    lake: Lake, instance: dg.DagsterInstance, compute: Compute, *days: str, late: float = 0.0
) -> dg.ExecuteInProcessResult:
    for name, rows in planted.sources(late).items():
        parts = {day: part for day, part in by_day(rows).items() if day in DAYS}
        lake.replace(f"uc/{name}", parts, build_manifest(parts, "replace", Provenance("arrivals", "1")), None)
    assets, check = graph(compute)
    inputs = [source(name).with_io_manager_key("lake") for name in KNOWN]
    return materialize([*inputs, *assets], lake, instance, *days, extra=[check], only=[*assets, check])


def evaluations(instance: dg.DagsterInstance) -> dict[str | None, dg.AssetCheckEvaluation]:
    """The newest evaluation of each partition that Dagster has kept (None: the summary of a range)."""
    key = dg.AssetCheckKey(dg.AssetKey(["uc", "features"]), "leakage")
    found: dict[str | None, dg.AssetCheckEvaluation] = {}
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=100):
        assert record.event
        assert record.event.dagster_event
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        found.setdefault(evaluation.partition, evaluation)
    return found


@pytest.mark.parametrize(("feature", "kind", "compute"), LEAKS.values(), ids=LEAKS)
@pytest.mark.parametrize("days", [(FIRST,), (FIRST, LAST)], ids=["one day", "range"])
def test_a_leak_fails_the_check_by_name_and_stops_the_run(
    lake: Lake, instance: dg.DagsterInstance, feature: str, kind: str, compute: Compute, days: tuple[str, ...]
) -> None:
    result = run(lake, instance, compute, *days)
    assert not result.success
    (summary,) = (e for e in result.get_asset_check_evaluations() if e.check_name == "leakage" and e.description)
    assert not summary.passed
    assert f"{feature}: {kind} leak in " in (summary.description or "")
    assert KINDS[kind] in (summary.description or "")
    assert summary.metadata["leaking_features"].value == 1
    assert lake.open("uc/trained") is None
    assert "uc__trained" not in {e.step_key for e in result.all_events if e.event_type_value == "STEP_START"}


@pytest.mark.parametrize("late", [0.0, 0.5], ids=["in order", "out of order"])
@pytest.mark.parametrize("days", [(FIRST,), (FIRST, LAST)], ids=["one day", "range"])
def test_honest_features_pass(lake: Lake, instance: dg.DagsterInstance, days: tuple[str, ...], late: float) -> None:
    assert run(lake, instance, honest, *days, late=late).success
    assert all(evaluation.passed for evaluation in evaluations(instance).values())
    assert lake.open("uc/trained") is not None


def test_every_day_of_a_range_has_its_own_verdict(lake: Lake, instance: dg.DagsterInstance) -> None:
    def leaking_on_one_day(payments, labels, start: datetime, end: datetime) -> pl.DataFrame:
        rows = honest(payments, labels, start, end)
        future = LEAKS["own future"][2](payments, labels, start, end)["count_7d"]
        on_that_day = pl.col("event_date") == date.fromisoformat(DAYS[9])
        return rows.with_columns(count_7d=pl.when(on_that_day).then(future).otherwise("count_7d"))

    run(lake, instance, leaking_on_one_day, FIRST, LAST)
    verdicts = {day: evaluation.passed for day, evaluation in evaluations(instance).items()}
    assert verdicts == {DAYS[8]: True, DAYS[9]: False, DAYS[10]: True, None: False}


def test_each_verdict_says_how_many_rows_were_computed_again(lake: Lake, instance: dg.DagsterInstance) -> None:
    run(lake, instance, honest, FIRST, LAST)
    rows = {day: evaluation.metadata["rows_recomputed"].value for day, evaluation in evaluations(instance).items()}
    assert rows == dict.fromkeys(DAYS[8:11], 6) | {None: 18}  # all six rows of each day


def test_a_day_without_rows_passes(lake: Lake, instance: dg.DagsterInstance) -> None:
    def nothing(payments, labels, start: datetime, end: datetime) -> pl.DataFrame:
        return honest(payments, labels, start, end).head(0)

    assert run(lake, instance, nothing, FIRST).success
    assert [e.metadata["rows_recomputed"].value for e in evaluations(instance).values()] == [0]
