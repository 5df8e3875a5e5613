"""The arrival sensor over a real broker: a landing for each range once, and words for everything else."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from convergence.arrivals.kafka import Kafka
from convergence.arrivals.lander import follow
from convergence.arrivals.topics import Topic
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from resources.arrivals import CONTINUOUS, Sources, landing_asset, provenance, topic_asset, topic_key
from resources.lake import LakeIOManager
from sensors import arrivals
from sensors.arrivals import RANGE, arrival_sensor
from tests.convergence.arrivals.landing import Message, message
from tests.convergence.arrivals.logs import delete, forget, make_anew, new_topic, numbers, produce
from tests.resources.readings import DAILY

PARTITION = "2024-01-10"
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass
class Platform:
    """A sensor with its memory over topics of a broker; runs are executed as the daemon would."""

    lake: Lake
    instance: dg.DagsterInstance
    broker: KafkaBroker
    topics: list[Topic]
    inbox: Path
    cursor: str | None = None
    before: str | None = None  # the cursor of the last tick
    said: str = ""
    seen: set[str] = field(default_factory=set)
    observed: list[dg.AssetObservation] = field(default_factory=list)
    sources: Sources = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        self.sources = Sources(inbox=str(self.inbox), kafka=self.broker.bootstrap)
        self.resources = {"lake": LakeIOManager(root=self.lake.root), "sources": self.sources}
        specs = [topic_asset(t) for t in self.topics]
        self.assets: list[Any] = [*specs, *(landing_asset(t, partitions_def=DAILY) for t in self.topics)]

    def tick(self, **more: Any) -> list[dg.RunRequest]:
        """One evaluation; like the daemon, passes over run keys that it has seen."""
        sensor = arrival_sensor([replace(t, **more) for t in self.topics])
        definitions = dg.Definitions(assets=self.assets, resources=self.resources, sensors=[sensor])
        context = dg.build_sensor_context(
            self.instance, cursor=self.cursor, definitions=definitions, resources=self.resources
        )
        result = sensor.evaluate_tick(context)
        self.before, self.cursor, self.said = self.cursor, result.cursor, result.skip_message or ""
        self.observed = [e for e in result.asset_events if isinstance(e, dg.AssetObservation)]
        new = [r for r in result.run_requests or () if r.run_key not in self.seen]
        self.seen |= {r.run_key or "" for r in new}
        return new

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            self.assets,
            selection=dg.AssetSelection.assets(*(request.asset_selection or ())),
            partition_key=request.partition_key,
            tags=dict(request.tags),
            resources=self.resources,
            run_config=QUIET,
            instance=self.instance,
            raise_on_error=False,
        )

    def count(self, topic: Topic) -> int:
        return self.lake.scan(topic.table).collect().height

    def follow(self, topic: Topic) -> Iterator[Any]:
        """A continuous lander at work, a commit at each step."""
        kafka = Kafka(self.broker.bootstrap)
        made = provenance(topic, kafka, f"{CONTINUOUS}here/1")
        return follow(self.lake, topic, kafka, made, rows=5, seconds=0.2)


@pytest.fixture
def platform(lake: Lake, instance: dg.DagsterInstance, kafka: KafkaBroker, tmp_path: Path) -> Platform:
    return Platform(lake, instance, kafka, [new_topic(kafka, 2)], tmp_path / "inbox")


def batch(count: int, first: int = 0) -> list[Message]:
    return numbers(first, first + count)


def test_five_hundred_messages_ask_for_one_landing_and_no_second(platform: Platform, kafka: KafkaBroker) -> None:
    (topic,) = platform.topics
    assert (platform.tick(), platform.said) == (
        [],
        f"{topic.name}: nothing new in drop folder, kafka {kafka.bootstrap}",
    )
    produce(kafka, topic, batch(300), partition=0)
    produce(kafka, topic, batch(200, 300), partition=1)
    (request,) = platform.tick()
    assert request.tags["cause"] == f"500 new in {topic.name}"
    assert request.run_key == f"{request.tags[RANGE]}/1"
    assert platform.tick() == []
    assert platform.run(request).success
    assert platform.count(topic) == 500
    assert (platform.tick(), platform.said) == (
        [],
        f"{topic.name}: nothing new in drop folder, kafka {kafka.bootstrap}",
    )


def test_other_offsets_have_another_run_key_and_equal_ones_the_same(platform: Platform, kafka: KafkaBroker) -> None:
    (topic,) = platform.topics
    produce(kafka, topic, batch(1))
    (first,) = platform.tick()
    platform.seen.clear()
    (again,) = platform.tick()
    produce(kafka, topic, batch(1))
    (second,) = platform.tick()
    assert first.run_key == again.run_key != second.run_key


def test_a_tick_that_lost_its_cursor_after_the_landing_starts_no_second_run(
    platform: Platform, kafka: KafkaBroker
) -> None:
    (topic,) = platform.topics
    produce(kafka, topic, batch(10))
    (request,) = platform.tick()
    platform.run(request)
    platform.cursor = platform.before
    assert platform.tick() == []
    assert platform.count(topic) == 10


def test_what_comes_while_a_landing_is_in_flight_waits_for_it(
    platform: Platform, kafka: KafkaBroker, instance: dg.DagsterInstance
) -> None:
    (topic,) = platform.topics
    produce(kafka, topic, batch(1))
    (request,) = platform.tick()
    job = dg.Definitions(assets=platform.assets, resources=platform.resources).resolve_implicit_global_asset_job_def()
    run = instance.create_run_for_job(job, tags=dict(request.tags), status=dg.DagsterRunStatus.STARTED)
    produce(kafka, topic, batch(1, 1))
    assert platform.tick() == []
    assert platform.said == f"{topic.name}: run {run.run_id[:8]} is landing"
    instance.report_run_canceled(run)
    assert len(platform.tick()) == 1


def test_a_landing_that_failed_is_tried_again_later_and_then_later_still(
    platform: Platform, kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    (topic,) = platform.topics
    produce(kafka, topic, batch(1))
    clock, keys, pauses = {"now": time.time()}, set(), []
    monkeypatch.setattr(arrivals, "time", SimpleNamespace(time=lambda: clock["now"]))
    for _ in range(3):
        ended = clock["now"]
        while not (requests := platform.tick()):
            assert platform.said == f"{topic.name}: the last landing failed and is tried again later"
            clock["now"] += 10
        pauses.append(clock["now"] - ended)
        keys.add(requests[0].run_key)
        with monkeypatch.context() as patch:
            patch.setattr("resources.arrivals.land", broken)
            assert not platform.run(requests[0]).success
        clock["now"] = time.time()
    assert len(keys) == 3
    assert pauses == [0, pytest.approx(60), pytest.approx(120)]


def broken(*_: object) -> None:
    raise RuntimeError("out of order")


def test_a_continuous_lander_at_work_is_left_alone_and_replaced_once_it_stands_still(
    platform: Platform, kafka: KafkaBroker
) -> None:
    (topic,) = platform.topics
    produce(kafka, topic, batch(12))
    landings = platform.follow(topic)
    next(landings)
    platform.tick()
    next(landings)
    assert platform.tick() == []
    assert platform.said.endswith("new; a continuous lander is at work")
    landings.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert len(platform.tick()) == 1


def test_a_compaction_does_not_hide_the_lander_at_work(platform: Platform, kafka: KafkaBroker) -> None:
    from convergence.lake.maintenance import compact

    (topic,) = platform.topics
    produce(kafka, topic, batch(12))
    landings = platform.follow(topic)
    next(landings)
    platform.tick()
    next(landings)
    compact(platform.lake, topic.table)
    assert platform.tick() == []
    assert platform.said.endswith("a continuous lander is at work")
    landings.close()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_topic_is_observed_with_its_lag_when_that_changed(platform: Platform, kafka: KafkaBroker) -> None:
    (topic,) = platform.topics
    produce(kafka, topic, batch(7))
    (request,) = platform.tick()
    (observation,) = platform.observed
    assert observation.asset_key == topic_key(topic)
    assert observation.metadata["lag"].value == 7
    assert sorted(str(v.value) for v in observation.metadata.values()) == ["0 to 7 not landed", "7"]
    platform.tick()
    assert platform.observed == []
    platform.run(request)
    platform.tick()
    assert platform.observed[0].metadata["lag"].value == 0


@pytest.mark.parametrize("loss", ["retention", "made anew", "deleted"])
def test_a_loss_is_said_with_its_size_and_starts_nothing(platform: Platform, kafka: KafkaBroker, loss: str) -> None:
    (topic,) = platform.topics
    produce(kafka, topic, batch(120))
    platform.run(platform.tick()[0])
    produce(kafka, topic, batch(480, 120))
    {
        "retention": lambda: forget(kafka, topic, before=500),
        "made anew": lambda: make_anew(kafka, topic, 2),
        "deleted": lambda: delete(kafka, topic),
    }[loss]()
    said = {
        "retention": "landed up to offset 120 and now starts at 500: 380 messages are gone",
        "made anew": "was deleted and made anew",
        "deleted": f"has no topic {topic.name}",
    }[loss]
    assert platform.tick() == []
    assert said in platform.said


# A source or a topic out of order


def test_an_outage_is_said_once_within_the_ticks_time_and_files_are_landed_meanwhile(
    own_broker: KafkaBroker,
    lake: Lake,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Sources, "broker", property(lambda _: Kafka(own_broker.bootstrap, timeout=1)))
    topics = [new_topic(own_broker, table=f"shop/raw_{name}") for name in "ab"]
    platform = Platform(lake, instance, own_broker, topics, tmp_path / "inbox")
    produce(own_broker, topics[0], batch(3))
    platform.run(platform.tick()[0])
    platform.tick()
    own_broker.kill()
    (tmp_path / "inbox" / topics[1].name).mkdir(parents=True)
    (tmp_path / "inbox" / topics[1].name / "a.jsonl").write_text(json.dumps(message(9)))
    capfd.readouterr()
    began = time.monotonic()
    (request,) = platform.tick()
    assert time.monotonic() - began < 2.5
    assert request.tags["cause"] == f"1 new in {topics[1].name}"
    assert platform.observed == []  # nobody knows the lag of a broker that is down
    platform.tick()
    assert "did not answer in 1 s" in json.loads(platform.cursor or "")[topics[0].name]["problem"]
    assert capfd.readouterr().err.count("did not answer") == 2  # once for each topic
    own_broker.start()
    platform.tick()
    platform.tick()
    assert capfd.readouterr().err.count("in order again") == 2


def test_a_table_that_cannot_be_opened_leaves_the_other_topics_served(
    lake: Lake, instance: dg.DagsterInstance, kafka: KafkaBroker, tmp_path: Path
) -> None:
    topics = [new_topic(kafka, table=f"shop/raw_{name}") for name in "ab"]
    platform = Platform(lake, instance, kafka, topics, tmp_path / "inbox")
    for topic in topics:
        produce(kafka, topic, batch(2))
    platform.run(platform.tick()[0])
    platform.seen.clear()
    (log,) = (Path(lake.root) / topics[0].table / "_delta_log").glob("*0.json")
    log.write_text("{broken")
    (request,) = platform.tick()
    assert request.asset_selection == [dg.AssetKey(topics[1].table.split("/"))]
    assert "is not as it was acknowledged" in json.loads(platform.cursor or "")[topics[0].name]["problem"]


# Silence


def test_silence_is_said_once_and_its_end_once(
    platform: Platform, kafka: KafkaBroker, capfd: pytest.CaptureFixture[str]
) -> None:
    (topic,) = platform.topics
    limit = {"silent_after": timedelta(seconds=0.5)}
    produce(kafka, topic, batch(1))
    platform.run(platform.tick(**limit)[0])
    platform.tick(**limit)
    assert platform.said == f"{topic.name}: nothing new in drop folder, kafka {kafka.bootstrap}"
    time.sleep(0.6)
    for _ in range(3):
        platform.tick(**limit)
        assert "silent since" in platform.said
    produce(kafka, topic, batch(1, 1))
    assert len(platform.tick(**limit)) == 1
    said = capfd.readouterr().err
    assert said.count("silent since") - said.count("in order again") == 1
    assert said.count("in order again") == 1


def test_a_topic_that_promises_nothing_is_never_silent(platform: Platform) -> None:
    platform.tick()
    time.sleep(0.1)
    platform.tick()
    assert "silent" not in platform.said
