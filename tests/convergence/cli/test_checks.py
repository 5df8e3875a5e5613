"""Stand-alone checks as `convergence check` and the demo run them: where there is a partition, and a warning is one."""

from collections.abc import Callable
from importlib import import_module

import dagster as dg
import pytest

from convergence.versions.reconcile import Node

demo = import_module("convergence.cli.demo")  # the package has a command of that name

DAILY = dg.DailyPartitionsDefinition("2018-08-01", end_date="2018-08-10")
WEEKLY = dg.WeeklyPartitionsDefinition("2018-08-01", end_date="2018-08-15", day_offset=3)
BOTH, DAY_ONLY = "2018-08-01", "2018-08-02"
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN

Put = Callable[..., list[str]]  # outcomes in, names of the checks that ran out


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> Put:
    """A graph with a check on a daily and one on a weekly asset, each coming out as told."""

    def checked(name: str, partitions: dg.PartitionsDefinition, outcome: object, ran: list[str]):
        @dg.asset(name=name, key_prefix="uc", partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
        def asset() -> None: ...

        spec = dg.AssetCheckSpec("well", asset=asset.key, partitions_def=partitions)  # pyright: ignore

        @dg.multi_asset_check(specs=[spec], name=f"{name}_well")
        def check():
            ran.append(name)
            if isinstance(outcome, Exception):
                raise outcome
            yield dg.AssetCheckResult(
                asset_key=asset.key, check_name="well", passed=outcome is True,
                severity=outcome if isinstance(outcome, dg.AssetCheckSeverity) else ERROR,
            )  # fmt: skip

        return asset, check

    def graph(daily: object = True, weekly: object = True) -> list[str]:
        ran: list[str] = []
        assets, checks = zip(checked("daily", DAILY, daily, ran), checked("weekly", WEEKLY, weekly, ran), strict=True)
        job = dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks))
        monkeypatch.setattr(demo, "defs", dg.Definitions(assets=assets, asset_checks=checks, jobs=[job]))
        monkeypatch.setattr(demo, "checks", lambda: list(checks))
        return ran

    return graph


def test_only_checks_whose_asset_has_the_partition_run(put: Put, instance: dg.DagsterInstance) -> None:
    ran = put()
    assert demo.run_checks(instance, DAY_ONLY)
    assert ran == ["daily"]
    assert demo.run_checks(instance, BOTH)
    assert sorted(ran[1:]) == ["daily", "weekly"]


@pytest.mark.parametrize(
    ("weekly", "good", "said"),
    [
        (True, True, "2 passed, 0 warnings, 0 failed"),
        (WARN, True, "1 passed, 1 warning, 0 failed"),
        (ERROR, False, "1 passed, 0 warnings, 1 failed"),
        (ValueError("out of order"), False, "1 passed, 0 warnings, 1 failed"),
    ],
    ids=["passed", "warning", "error", "not_run"],
)
def test_a_warning_is_counted_and_is_no_failure(
    put: Put, instance: dg.DagsterInstance, weekly: object, good: bool, said: str
) -> None:
    put(weekly=weekly)
    with demo.console.capture() as capture:
        assert demo.run_checks(instance, BOTH) == good
    assert said in capture.get()
    if isinstance(weekly, Exception):
        assert "weekly_well 2018-08-01 could not be run: " in capture.get()


def test_brackets_in_what_went_wrong_are_shown_and_not_read_as_markup(put: Put, instance: dg.DagsterInstance) -> None:
    put(weekly=dg.Failure("expected values in [low, high]"))
    with demo.console.capture() as capture:
        demo.run_checks(instance, BOTH)
    assert "expected values in [low, high]" in " ".join(capture.get().split())


@pytest.mark.parametrize(("outcome", "failed"), [(True, []), (WARN, []), (ERROR, ["uc/weekly"])], ids=str)
def test_the_demo_runs_an_open_check_once_and_fails_by_its_errors_alone(
    put: Put, instance: dg.DagsterInstance, outcome: object, failed: list[str]
) -> None:
    ran, report = put(weekly=outcome), demo.Report()
    node = Node("uc/weekly", WEEKLY.get_partition_keys(), {}, "1", "release")
    demo._confirm(instance, node, report)
    assert (ran, report.failed) == (["weekly"], failed)
    demo._confirm(instance, node, report)
    assert ran == ["weekly"]
