"""The reconcile sensor over a real lake: its requests are executed here, as the daemon would execute them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import WHOLE, Lake
from resources.lake import LakeIOManager, lake_asset
from sensors.reconcile import reconcile
from tests.resources.readings import (
    DAILY,
    DAYS,
    WEEKLY,
    WEEKS,
    Reading,
    frame_of,
    held,
    made_from,
    range_tags,
    stored,
    windowed,
)

RAW = dg.AssetSpec(
    "raw", partitions_def=DAILY, metadata={"dagster/table_name": "raw"}, tags={"layer": "raw"}
).with_io_manager_key("lake")

Requests = dict[str, list[tuple[str, str]]]  # asset -> first and last partition of each run


@dataclass
class Platform:
    """A lake in which messages land, assets made from it, and the sensor with its memory."""

    lake: Lake
    instance: dg.DagsterInstance
    during: Callable[[], Any] = lambda: None  # what happens once, while the next run of `dataset` goes on
    fails: bool = False
    said: str = ""
    cursor: str | None = None
    seen: set[str] = field(default_factory=set)
    pending: list[dg.RunRequest] = field(default_factory=list)
    assets: list[dg.AssetsDefinition] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.io_manager = LakeIOManager(root=self.lake.root)

        @lake_asset(
            contract=Reading,
            partitions_def=DAILY,
            ins={"raw": dg.AssetIn()},
            code_version="1",
            tags={"layer": "dataset"},
        )
        def dataset(context: dg.AssetExecutionContext, raw: pl.LazyFrame) -> pl.DataFrame:
            rows = raw.unique().collect()
            happening, self.during = self.during, lambda: None
            happening()
            if self.fails:
                raise dg.Failure("out of order")
            return rows

        feature = made_from(dataset, "feature", windowed(-2))
        model = made_from(feature, "model", partitions_def=WEEKLY, layer="model")
        prediction = made_from(dataset, "prediction", layer="prediction")
        self.assets = [dataset, feature, model, prediction]
        self.definitions = dg.Definitions(
            assets=[RAW, *self.assets],
            resources={"lake": self.io_manager},
            sensors=[reconcile],
        )

    @property
    def dataset(self) -> dg.AssetsDefinition:
        return self.assets[0]

    @property
    def feature(self) -> dg.AssetsDefinition:
        return self.assets[1]

    def land(self, day: str, *values: int) -> None:
        """New messages of one day, as the lander commits them."""
        rows = {day: frame_of({day: values})}
        base = self.lake.open("raw")
        self.lake.append(
            "raw", rows[day], build_manifest(rows, "append", Provenance("lander", "1")), {}, base, dated=True
        )

    def land_again(self, day: str, *values: int) -> None:
        """The messages of a day landed anew in place of those that were there."""
        rows = {day: frame_of({day: values})}
        self.lake.replace(
            "raw", rows, build_manifest(rows, "replace", Provenance("lander", "1")), self.lake.open("raw")
        )

    def tick(self) -> Requests:
        """One evaluation of the sensor; like the daemon, passes over run keys that it has seen."""
        context = dg.build_sensor_context(
            self.instance, self.cursor, definitions=self.definitions, resources={"lake": self.io_manager}
        )
        result = reconcile.evaluate_tick(context)
        self.said, self.cursor = result.skip_message or "", result.cursor
        requests: Requests = {}
        for request in result.run_requests or ():
            assert request.run_key
            if request.run_key in self.seen:
                continue
            self.seen.add(request.run_key)
            self.pending.append(request)
            (key,) = request.asset_selection or ()
            first, last = (request.tags.get(f"dagster/asset_partition_range_{end}", WHOLE) for end in ("start", "end"))
            requests.setdefault(key.to_user_string(), []).append((first, last))
        return requests

    def execute(self) -> None:
        """Run what was asked for."""
        pending, self.pending = self.pending, []
        for request in pending:
            self.materialize(dict(request.tags), *(request.asset_selection or ()))

    def materialize(self, tags: dict[str, str], *keys: dg.AssetKey) -> None:
        dg.materialize(
            [RAW, *self.assets],
            selection=dg.AssetSelection.assets(*keys),
            tags=tags,
            resources={"lake": self.io_manager},
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            instance=self.instance,
            raise_on_error=False,
        )

    def settle(self) -> list[Requests]:
        """Ticks and runs until nothing is asked for."""
        asked: list[Requests] = []
        while requests := self.tick():
            asked.append(requests)
            self.execute()
        return asked


@pytest.fixture
def platform(lake: Lake, instance: dg.DagsterInstance) -> Platform:
    return Platform(lake, instance)


def settled(platform: Platform, *days: str) -> Platform:
    """The platform with one message a day, in sync."""
    for day in days:
        platform.land(day, DAYS.index(day))
    platform.settle()
    return platform


def test_landed_days_are_made_into_datasets_and_then_into_features(platform: Platform) -> None:
    for day in DAYS[:3]:
        platform.land(day, 1)
    assert platform.settle() == [{"dataset": [(DAYS[0], DAYS[2])]}, {"feature": [(DAYS[0], DAYS[2])]}]
    assert stored(platform.lake, platform.feature) == {day: [1] for day in DAYS[:3]}


def test_nothing_is_asked_for_when_everything_is_in_sync(platform: Platform) -> None:
    settled(platform, *DAYS[:3])
    assert platform.tick() == {}
    assert platform.said.startswith("compared ")
    assert platform.said.endswith(" s: whatever is rebuilt by itself is in sync")


def test_a_late_message_reopens_exactly_the_partitions_that_read_it(platform: Platform) -> None:
    settled(platform, *DAYS[:8])
    platform.land(DAYS[3], 77)
    assert platform.settle() == [{"dataset": [(DAYS[3], DAYS[3])]}, {"feature": [(DAYS[3], DAYS[5])]}]


def test_days_apart_are_runs_of_their_own(platform: Platform) -> None:
    settled(platform, *DAYS[:8])
    for day in (DAYS[1], DAYS[5], DAYS[6]):
        platform.land(day, 77)
    assert platform.tick() == {"dataset": [(DAYS[1], DAYS[1]), (DAYS[5], DAYS[6])]}


def test_an_equal_landing_asks_for_nothing(platform: Platform) -> None:
    settled(platform, *DAYS[:3])
    platform.land_again(DAYS[1], 1)
    assert platform.tick() == {}
    assert platform.said.endswith("whatever is rebuilt by itself is in sync")


def test_a_message_that_changes_no_dataset_asks_for_no_feature(platform: Platform) -> None:
    settled(platform, *DAYS[:3])
    platform.land(DAYS[1], 1)  # a repeat, which the dataset removes
    assert platform.settle() == [{"dataset": [(DAYS[1], DAYS[1])]}]


def test_models_and_predictions_are_never_asked_for(platform: Platform) -> None:
    for day in DAYS[:7]:
        platform.land(day, 1)
    asked = [name for requests in platform.settle() for name in requests]
    model = platform.assets[2]
    platform.materialize(range_tags(WEEKS[0], WEEKS[0]), model.key)
    assert held(platform.lake, model)
    platform.land(DAYS[2], 77)
    asked += [name for requests in platform.settle() for name in requests]
    assert set(asked) == {"dataset", "feature"}


def test_a_failed_run_is_not_repeated_until_something_changes(platform: Platform) -> None:
    platform.fails = True
    platform.land(DAYS[0], 1)
    assert platform.settle() == [{"dataset": [(DAYS[0], DAYS[0])]}]
    assert platform.tick() == {}
    assert "2 stale, of which 1 wait for an input or a run and 1 were tried with these inputs before" in platform.said


def test_a_failed_run_is_repeated_with_other_inputs(platform: Platform) -> None:
    platform.fails = True
    platform.land(DAYS[0], 1)
    platform.settle()
    platform.fails = False
    platform.land(DAYS[0], 2)
    assert platform.settle() == [{"dataset": [(DAYS[0], DAYS[0])]}, {"feature": [(DAYS[0], DAYS[0])]}]


def test_a_failed_day_does_not_hold_up_the_others(platform: Platform) -> None:
    platform.fails = True
    platform.land(DAYS[0], 1)
    platform.settle()
    platform.fails = False
    platform.land(DAYS[5], 1)
    assert platform.settle() == [{"dataset": [(DAYS[5], DAYS[5])]}, {"feature": [(DAYS[5], DAYS[5])]}]


def test_the_memory_of_a_request_ends_when_its_partition_is_in_sync(platform: Platform) -> None:
    settled(platform, *DAYS[:2])
    platform.land(DAYS[5], 1)
    platform.tick()
    assert platform.cursor
    assert "feature" not in platform.cursor
    assert platform.cursor.count("dataset") == 1


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ],
)
@pytest.mark.parametrize(
    "tags", [{"dagster/partition": DAYS[1]}, range_tags(DAYS[1], DAYS[1])], ids=["one day", "range"]
)
def test_partitions_that_a_run_holds_are_not_asked_for(
    platform: Platform, status: dg.DagsterRunStatus, tags: dict[str, str]
) -> None:
    for day in DAYS[:3]:
        platform.land(day, 1)
    run(platform, status, tags)
    assert platform.tick() == {"dataset": [(DAYS[0], DAYS[0]), (DAYS[2], DAYS[2])]}


def test_partitions_of_a_run_that_has_ended_are_asked_for(platform: Platform) -> None:
    platform.land(DAYS[1], 1)
    run(platform, dg.DagsterRunStatus.FAILURE, {"dagster/partition": DAYS[1]})
    assert platform.tick() == {"dataset": [(DAYS[1], DAYS[1])]}


def run(platform: Platform, status: dg.DagsterRunStatus, tags: dict[str, str]) -> None:
    """A run of `dataset` that somebody else has started."""
    job = platform.definitions.resolve_implicit_global_asset_job_def()
    selection = frozenset([platform.dataset.key])
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("convergence"), "repository")
    origin = RemoteJobOrigin(repository, job.name)
    platform.instance.create_run_for_job(
        job, asset_selection=selection, tags=tags, status=status, remote_job_origin=origin
    )


def test_partitions_that_a_job_without_a_selection_makes_are_not_asked_for(platform: Platform) -> None:
    platform.land(DAYS[1], 1)
    platform.during = lambda: platform.tick() and pytest.fail("the running job holds the day")
    platform.materialize({"dagster/partition": DAYS[1]}, platform.dataset.key)
    assert held(platform.lake, platform.dataset)[DAYS[1]].rows == 1


def test_a_run_says_why_it_was_asked_for(platform: Platform) -> None:
    settled(platform, *DAYS[:2])
    platform.land(DAYS[1], 77)
    platform.tick()
    assert [request.tags["cause"] for request in platform.pending] == ["inputs changed"]


LATE = 77


def test_without_late_messages_a_run_ends_the_matter(platform: Platform) -> None:
    settled(platform, *DAYS[:4])
    platform.land(DAYS[1], 5)
    assert platform.settle() == [{"dataset": [(DAYS[1], DAYS[1])]}, {"feature": [(DAYS[1], DAYS[3])]}]


def arrives_during_the_run_and_a_tick_sees_it(platform: Platform) -> None:
    def during() -> None:
        platform.land(DAYS[1], LATE)
        assert platform.tick() == {}  # the run holds the day

    platform.during = during
    platform.execute()


def arrives_during_the_run_between_two_ticks(platform: Platform) -> None:
    platform.during = lambda: platform.land(DAYS[1], LATE)
    platform.execute()


def arrives_after_the_run_within_the_same_tick(platform: Platform) -> None:
    platform.execute()
    platform.land(DAYS[1], LATE)


@pytest.mark.parametrize(
    "late",
    [
        arrives_during_the_run_and_a_tick_sees_it,
        arrives_during_the_run_between_two_ticks,
        arrives_after_the_run_within_the_same_tick,
    ],
)
def test_no_message_is_missed_that(platform: Platform, late: Callable[[Platform], None]) -> None:
    settled(platform, *DAYS[:4])
    platform.land(DAYS[1], 5)
    assert platform.tick() == {"dataset": [(DAYS[1], DAYS[1])]}
    late(platform)
    assert platform.settle() == [{"dataset": [(DAYS[1], DAYS[1])]}, {"feature": [(DAYS[1], DAYS[3])]}]
    assert stored(platform.lake, platform.feature)[DAYS[1]] == [1, 5, LATE]


def test_a_message_during_the_run_of_a_range_reopens_its_day_only(platform: Platform) -> None:
    for day in DAYS[:4]:
        platform.land(day, 1)
    platform.tick()
    platform.during = lambda: platform.land(DAYS[1], LATE)
    platform.execute()
    assert platform.tick() == {"dataset": [(DAYS[1], DAYS[1])], "feature": [(DAYS[0], DAYS[0])]}
