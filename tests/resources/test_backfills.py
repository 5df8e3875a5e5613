"""A backfill launched as the UI does, through GraphQL and the daemon's iterations: what is told of each partition."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import instance_for_test
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.backfill import execute_backfill_iteration
from dagster_graphql.test.utils import execute_dagster_graphql

from convergence.lake.content_hash import EMPTY
from convergence.lake.tables import Lake
from resources.arrivals import TOPIC as ANSWERS
from resources.arrivals import Sources
from resources.lake import LakeIOManager
from tests.convergence.arrivals.landing import TOPIC, drop, message
from tests.resources import shop_graph
from tests.resources.readings import range_tags

# A run that the daemon's own loop waits for starts a loop inside it
pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'BaseEventLoop.shutdown_asyncgens' was never awaited")

LAUNCH = """mutation($asked: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $asked) { ... on LaunchBackfillSuccess { backfillId } }
}"""
TOLD = """query($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill {
  status
  assetBackfillData { assetBackfillStatuses { ... on AssetPartitionsStatusCounts {
    assetKey { path } numPartitionsTargeted numPartitionsInProgress numPartitionsMaterialized numPartitionsFailed
  } } }
} } }"""
IN_PROCESS = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {
        "module": "dagster._core.run_coordinator.sync_in_memory_run_coordinator",
        "class": "SyncInMemoryRunCoordinator",
    },
    "telemetry": {"enabled": False},
}
RAW = dg.AssetKey(TOPIC.table.split("/"))
LOG = logging.getLogger("tests.backfills")
LOG.setLevel(logging.CRITICAL)


def day(number: int) -> str:
    return f"2024-01-{number:02}"


def arrives(inbox: Path, name: str, amounts: dict[int, float]) -> None:
    """A file with one payment a day: day of January -> amount."""
    drop(inbox, name, *(message(n, event_time=f"{day(n)}T12:00:00Z", amount=a) for n, a in amounts.items()))


Counts = dict[str, tuple[int, int, int, int]]  # table -> asked for, in progress, materialized, failed


@dataclass
class Platform:
    """A Dagster instance on disk with its graph, a lake and a drop folder."""

    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext

    def backfill(self, tables: Sequence[str], days: Sequence[str]) -> tuple[str, Counts]:
        """What the UI shows of a backfill once the daemon has no more to do on it."""
        asked = {"partitionNames": days, "assetSelection": [{"path": ["shop", table]} for table in tables]}
        backfill = self._ask(LAUNCH, asked=asked)["launchPartitionBackfill"]["backfillId"]
        for _ in range(6):
            assert not any(execute_backfill_iteration(self.workspace, LOG))
            if (found := self.instance.get_backfill(backfill)) and found.status.value.startswith("COMPLETED"):
                break
        told = self._ask(TOLD, id=backfill)["partitionBackfillOrError"]
        counts = told["assetBackfillData"]["assetBackfillStatuses"]
        kinds = ("Targeted", "InProgress", "Materialized", "Failed")
        return told["status"], {
            of["assetKey"]["path"][-1]: tuple(of[f"numPartitions{kind}"] for kind in kinds) for of in counts
        }

    def _ask(self, query: str, **variables: Any) -> Mapping[str, Any]:
        return execute_dagster_graphql(self.workspace.create_request_context(), query, variables).data


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name=shop_graph.__name__, attribute="defs"))
    with (
        instance_for_test(temp_dir=str(tmp_path_factory.mktemp("dagster")), overrides=IN_PROCESS) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as workspace,
    ):
        yield Platform(instance, workspace)


@pytest.fixture
def inbox(tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The drop folder of a platform that has landed nothing yet."""
    monkeypatch.setenv(shop_graph.LAKE, lake.root)
    monkeypatch.setenv(shop_graph.INBOX, str(tmp_path / "inbox"))
    return tmp_path / "inbox"


def newest(instance: dg.DagsterInstance, number: int) -> dg.AssetMaterialization | None:
    """The newest event of a day of the raw table."""
    asked = dg.AssetRecordsFilter(RAW, asset_partitions=[day(number)])
    records = instance.fetch_materializations(asked, limit=1).records
    return records[0].asset_materialization if records else None


def test_days_that_nothing_came_for_and_days_beside_those_asked_for_leave_the_counts_as_they_are(
    platform: Platform, inbox: Path
) -> None:
    arrives(inbox, "a.jsonl", {5: 1.0, 9: 1.0})
    told = platform.backfill(["raw_payments", "payments", "halved"], [day(n) for n in (4, 5, 6, 7)])
    assert told == ("COMPLETED_SUCCESS", dict.fromkeys(["raw_payments", "payments", "halved"], (4, 0, 4, 0)))


def test_a_day_that_nothing_came_for_says_so(platform: Platform, inbox: Path) -> None:
    arrives(inbox, "a.jsonl", {5: 1.0})
    platform.backfill(["raw_payments"], [day(n) for n in (3, 4)])
    found = newest(platform.instance, 3)
    assert found is not None
    assert found.metadata["landed"].value == "nothing of this day until now"
    assert found.metadata["dagster/partition_row_count"].value == 0
    assert (found.tags or {})["dagster/data_version"] == EMPTY


def test_a_day_beside_those_asked_for_says_which_run_landed_it(platform: Platform, inbox: Path) -> None:
    arrives(inbox, "a.jsonl", {10: 1.0})
    platform.backfill(["raw_payments"], [day(4)])
    (run,) = platform.instance.get_runs(limit=1)
    found = newest(platform.instance, 10)
    assert found is not None
    assert found.metadata["recorded"].value == f"run {run.run_id}, which was asked for other days"
    assert found.metadata["dagster/partition_row_count"].value == 1


def test_a_day_that_had_landed_before_is_told_as_it_was_left(platform: Platform, inbox: Path) -> None:
    arrives(inbox, "a.jsonl", {5: 1.0})
    platform.backfill(["raw_payments"], [day(5)])
    first, (run,) = newest(platform.instance, 5), platform.instance.get_runs(limit=1)
    assert platform.backfill(["raw_payments"], [day(5)]) == ("COMPLETED_SUCCESS", {"raw_payments": (1, 0, 1, 0)})
    again = newest(platform.instance, 5)
    assert first is not None
    assert again is not None
    assert again.metadata["landed"].value == f"nothing new since run {run.run_id}"
    assert (again.tags or {})["dagster/data_version"] == (first.tags or {})["dagster/data_version"]


def test_a_day_that_breaks_its_contract_is_told_as_failed_and_its_neighbours_are_not(
    platform: Platform, inbox: Path
) -> None:
    arrives(inbox, "a.jsonl", {4: 1.0, 5: 80.0})
    status, counts = platform.backfill(["raw_payments", "payments"], [day(n) for n in (4, 5, 6)])
    assert status == "COMPLETED_FAILED"
    assert counts == {"raw_payments": (3, 0, 3, 0), "payments": (3, 0, 2, 1)}


def landing(lake: Lake, inbox: Path, instance: dg.DagsterInstance, tags: dict[str, str], **where: Any) -> list[str]:
    """The days that a landing says something of."""
    result = dg.materialize(
        [shop_graph.raw_payments],
        tags=range_tags(day(4), day(6)) | tags,
        resources={"lake": LakeIOManager(root=lake.root), "sources": Sources(inbox=str(inbox), **where)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        instance=instance,
        raise_on_error=False,
    )
    return [event.partition or "" for event in result.get_asset_materialization_events()]


def test_a_landing_that_did_not_hear_of_all_sources_tells_of_no_day_that_it_has_nothing_of(
    lake: Lake, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    arrives(tmp_path, "a.jsonl", {5: 1.0})
    assert landing(lake, tmp_path, instance, {}, kafka="127.0.0.1:1") == [day(5)]


def test_a_landing_that_answers_what_has_arrived_tells_of_the_days_that_it_has_added_to(
    lake: Lake, tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    arrives(tmp_path, "a.jsonl", {5: 1.0, 9: 1.0})
    assert landing(lake, tmp_path, instance, {ANSWERS: TOPIC.name}) == [day(5), day(9)]
