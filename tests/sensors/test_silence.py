"""A topic that falls silent is overdue in Dagster, where a live source is configured, and in time again afterwards."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions import freshness_evaluator
from dagster._core.definitions.freshness import FreshnessState, TimeWindowFreshnessPolicy
from dagster._core.loader import LoadingContextForTest
from dagster._time import get_current_timestamp

from convergence.lake.tables import Lake
from resources.arrivals import Sources, landing_asset, overdue_when_silent
from resources.lake import LakeIOManager
from tests.convergence.arrivals.landing import TOPIC, drop, message, topic_with
from tests.resources.readings import DAILY

LIVE = topic_with(silent_after=timedelta(hours=24))
KEY = dg.AssetKey(TOPIC.table.split("/"))
LIMITS = [(0, "PASS"), (23.9, "PASS"), (24.1, "WARN"), (35.9, "WARN"), (36.1, "FAIL"), (1000, "FAIL")]


def definitions(lake: Lake, inbox: Path) -> dg.Definitions:
    resources = {"lake": LakeIOManager(root=lake.root), "sources": Sources(inbox=str(inbox))}
    return dg.Definitions(assets=[landing_asset(LIVE, partitions_def=DAILY)], resources=resources)


def policy(defs: dg.Definitions) -> object:
    (spec,) = (s for s in defs.resolve_all_asset_specs() if s.key == KEY)
    return spec.freshness_policy


def test_what_a_use_case_promises_has_a_policy_as_well(lake: Lake, tmp_path: Path) -> None:
    found = policy(overdue_when_silent(definitions(lake, tmp_path), [], {TOPIC.table: timedelta(hours=2)}))
    assert isinstance(found, TimeWindowFreshnessPolicy)
    assert found.fail_window.to_timedelta() == timedelta(hours=3)


def test_a_topic_that_promises_messages_has_a_policy_and_another_has_none(lake: Lake, tmp_path: Path) -> None:
    plain = definitions(lake, tmp_path)
    found = policy(overdue_when_silent(plain, [LIVE]))
    assert isinstance(found, TimeWindowFreshnessPolicy)
    assert found.warn_window
    windows = [found.warn_window.to_timedelta(), found.fail_window.to_timedelta()]
    assert windows == [timedelta(hours=24), timedelta(hours=36)]
    assert policy(overdue_when_silent(plain, [TOPIC])) is None


@pytest.fixture
def state(
    lake: Lake, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Callable[[float], str]:
    """What Dagster's own evaluator says so many hours from now."""
    defs = overdue_when_silent(definitions(lake, tmp_path), [LIVE])

    def after(hours: float) -> str:
        at = get_current_timestamp() + hours * 3600
        monkeypatch.setattr(freshness_evaluator, "get_current_timestamp", lambda: at)
        node = defs.resolve_asset_graph().get(KEY)
        evaluator = freshness_evaluator.TimeWindowFreshnessPolicyEvaluator()
        found = asyncio.run(evaluator.evaluate_freshness(LoadingContextForTest(instance), node))
        assert isinstance(found, FreshnessState)
        return found.name

    return after


def landing(lake: Lake, tmp_path: Path, instance: dg.DagsterInstance, number: int) -> None:
    drop(tmp_path, f"{number}.jsonl", message(number))
    job = definitions(lake, tmp_path).resolve_implicit_global_asset_job_def()
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    assert job.execute_in_process(instance=instance, partition_key="2024-01-10", run_config=quiet).success


def test_silence_is_a_warning_then_a_failure_and_a_message_ends_it(
    lake: Lake, tmp_path: Path, instance: dg.DagsterInstance, state: Callable[[float], str]
) -> None:
    assert state(0) == "UNKNOWN"
    landing(lake, tmp_path, instance, 1)
    assert [(hours, state(hours)) for hours, _ in LIMITS] == LIMITS
    landing(lake, tmp_path, instance, 2)
    assert state(0.1) == "PASS"


WATCHED = ["churn/customer_features", "churn/raw_customers"]
WATCHED += ["fraud/fraud_scores", "fraud/online_state", "fraud/raw_transactions", "fraud/transaction_features"]
WATCHED += ["semantic_search/raw_items", "semantic_search/search_index"]


@pytest.mark.parametrize(("kafka", "expected"), [("127.0.0.1:1", WATCHED), ("", [])], ids=["live", "history"])
def test_the_deployment_has_policies_only_with_a_live_source(tmp_path: Path, kafka: str, expected: list[str]) -> None:
    program = (
        "from convergence_assets.definitions import defs\n"
        "print(*sorted(s.key.to_user_string() for s in defs.resolve_all_asset_specs() if s.freshness_policy))\n"
        "print(*sorted(sensor.name for sensor in defs.sensors))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "CONVERGENCE_KAFKA"}
    environment |= {"CONVERGENCE_HOME": str(tmp_path)} | ({"CONVERGENCE_KAFKA": kafka} if kafka else {})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    found, sensors = done.stdout.splitlines()
    assert found.split() == expected
    assert sensors.split() == ["alerts", "arrivals", "drift", "reconcile"]
