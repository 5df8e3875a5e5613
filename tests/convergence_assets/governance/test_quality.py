"""The scorecard over histories of evaluations, beside figures that are counted by hand."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.lake.contracts import judge, schema_of
from convergence.lake.tables import WHOLE, Lake
from convergence_assets.governance.contracts import QualityScore
from convergence_assets.governance.quality import History, kpis, quality_scorecard, score, scorecard
from resources.lake import LakeIOManager

KEY = dg.AssetKey(["uc", "table"])
CONTRACT, DRIFT = dg.AssetCheckKey(KEY, "contract"), dg.AssetCheckKey(KEY, "drift")
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


def evaluation(partition: str | None, passed: bool, rejected: int = 0, severity=ERROR) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=KEY, check_name="contract", passed=passed, severity=severity, partition=partition,
        metadata={"rows_rejected": rejected},
    )  # fmt: skip


def scored(*evaluations: dg.AssetCheckEvaluation) -> dict[str, Any]:
    """The row of a check that was evaluated so, oldest first, a second apart."""
    history: History = list(reversed(list(enumerate(evaluations))))
    return dict(zip(schema_of(QualityScore), score(CONTRACT, history), strict=True))


def test_a_check_fails_while_the_newest_evaluation_of_a_partition_fails():
    before = [evaluation("a", False, 3), evaluation("b", True), evaluation("c", True)]

    found = scored(*before)
    assert (found["verdict"], found["failing_partitions"], found["rows_rejected"]) == ("failed", 1, 3)

    found = scored(*before, evaluation("a", True))
    assert (found["verdict"], found["failing_partitions"], found["rows_rejected"]) == ("passed", 0, 0)
    assert (found["evaluated_at"] - found["failed_at"]).total_seconds() == 3


def test_the_evaluation_of_a_whole_range_is_not_counted_beside_its_days():
    found = scored(evaluation("a", True), evaluation("b", False, 2), evaluation(None, False, 2))

    assert (found["failing_partitions"], found["rows_rejected"]) == (1, 2)


def test_a_warning_is_no_failure():
    found = scored(evaluation(None, False, severity=WARN))

    assert (found["verdict"], found["failing_partitions"], found["failed_at"]) == ("warned", 0, None)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(0, 3)), min_size=1))
def test_the_figures_are_those_of_the_newest_evaluation_of_each_partition(history: list[tuple[str, bool, int]]):
    found = scored(*(evaluation(*one) for one in history))

    last = {partition: (passed, rejected) for partition, passed, rejected in history}
    assert found["pass_rate"] == pytest.approx(sum(passed for _, passed, _ in history) / len(history))
    assert found["failing_partitions"] == sum(not passed for passed, _ in last.values())
    assert found["rows_rejected"] == sum(rejected for passed, rejected in last.values() if not passed)
    assert (found["verdict"] == "failed") == any(not passed for passed, _ in last.values())


def run(instance: dg.DagsterInstance, *, passed: bool) -> None:
    """A run that checks the table."""

    @dg.asset(key=KEY, check_specs=[dg.AssetCheckSpec("contract", asset=KEY)], output_required=False)
    def table() -> Iterator[dg.AssetCheckResult]:
        yield dg.AssetCheckResult(check_name="contract", passed=passed, metadata={"rows_rejected": 7 * (not passed)})

    assert dg.materialize([table], instance=instance).success


def test_the_history_is_read_from_dagster_and_a_check_that_never_ran_is_shown_as_such(instance: dg.DagsterInstance):
    for passed in (False, True, False):
        run(instance, passed=passed)

    rows = scorecard(instance, [DRIFT, CONTRACT], newest=2)

    assert judge(QualityScore, rows, [WHOLE]).bad == {}
    assert rows.select("check", "verdict", "evaluations", "pass_rate", "rows_rejected").rows() == [
        ("contract", "failed", 2, 0.5, 7),
        ("drift", "never", 0, None, 0),
    ]
    shown = kpis(rows)
    assert (shown["checks"], shown["checks_failing"], shown["checks_never_run"]) == (2, 1, 1)
    assert (shown["pass_rate"], shown["needs_attention"]) == (0.5, "uc/table: contract (1)")


def test_the_asset_scores_every_check_of_the_graph(instance: dg.DagsterInstance, lake: Lake):
    done = dg.materialize([quality_scorecard], instance=instance, resources={"lake": LakeIOManager(root=lake.root)})

    assert done.success
    found = set(lake.scan("governance/quality_scorecard").select("asset", "check").collect().rows())
    assert {("fraud/transactions", "contract"), ("governance/chaos_report", "exactly_once")} <= found
