"""Landing for ever: what comes is landed soon and once, in bounded memory, whatever the broker does meanwhile."""

import gc
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals import kafka as source
from convergence.arrivals import lander as landing
from convergence.arrivals.codecs import CODECS
from convergence.arrivals.lander import Landed, Lander, follow, read_ahead
from convergence.arrivals.topics import Arrived, NextOffset, Span, Topic
from convergence.errors import ArrivalError, BrokerUnreachable
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from tests.convergence.arrivals.landing import LATE, REJECTED, TABLE, TOPIC, message, places, rows
from tests.convergence.arrivals.logs import (
    MADE,
    eventually,
    forget,
    ids,
    kafka_of,
    make_anew,
    new_topic,
    numbers,
    produce,
    value_of,
)

TASKS = Path("/proc/self/task")  # of which Python knows only its own


class Following:
    """A lander that follows a topic in a thread of its own, until the end of the block."""

    def __init__(self, broker: KafkaBroker, lake: Lake, topic: Topic, **how: Any) -> None:
        self.done, self.lag, self.failure = Landed(), -1, ""
        self.stopping = False
        options: dict[str, Any] = {"seconds": 0.1, **how}
        landings: Any = follow(lake, topic, kafka_of(broker), MADE, **options)
        self.thread = threading.Thread(target=self._work, args=(landings,))

    def _work(self, landings: Any) -> None:
        try:
            with closing(landings):
                for done, lag in landings:
                    self.done, self.lag = self.done + done, lag
                    if self.stopping:
                        break
        except ArrivalError as error:
            self.failure = str(error)

    def __enter__(self) -> "Following":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping = True
        self.thread.join(30)
        assert not self.thread.is_alive()

    def until(self, messages: int) -> None:
        """Wait until so many have landed."""
        eventually(lambda: self.failure or self.done.messages >= messages)
        assert not self.failure


# When it commits


def test_a_commit_waits_for_its_seconds(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(5))
    with Following(kafka, lake, topic, seconds=3.0) as lander:
        time.sleep(0.5)
        produce(kafka, topic, numbers(5, 10))
        assert lander.done.commits == 0
        lander.until(10)
    assert lander.done.commits <= 2


def test_a_full_batch_does_not_wait(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(20))
    landings = follow(lake, topic, kafka_of(kafka), MADE, rows=5, seconds=5)
    began = time.monotonic()
    done = [next(landings)[0] for _ in range(3)]
    took = time.monotonic() - began
    assert [d.messages for d in done] == [5, 5, 5]
    assert took < 4


def test_nothing_new_commits_nothing(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(1))
    with Following(kafka, lake, topic) as lander:
        lander.until(1)
        time.sleep(0.5)
    assert lander.done.commits == 1


def test_caught_up_is_the_end_if_that_is_wished(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka, partitions=2)
    produce(kafka, topic, numbers(7), partition=1)
    done = [done for done, _ in follow(lake, topic, kafka_of(kafka), MADE, rows=3, until_caught_up=True)]
    assert sum(d.messages for d in done) == 7


# What may happen meanwhile


def test_an_empty_topic_is_followed_and_then_produced_to(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    with Following(kafka, lake, topic) as lander:
        eventually(lambda: lander.lag == 0)
        produce(kafka, topic, numbers(3))
        lander.until(3)
    assert ids(lake) == [0, 1, 2]


def test_a_new_partition_is_taken_up_from_its_beginning(
    kafka: KafkaBroker, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    from confluent_kafka.admin import NewPartitions  # pyright: ignore[reportPrivateImportUsage]

    from tests.convergence.arrivals.logs import admin

    monkeypatch.setattr(source, "_NEW_PARTITIONS", 0.3)
    topic = new_topic(kafka)
    with Following(kafka, lake, topic) as lander:
        produce(kafka, topic, numbers(2))
        lander.until(2)
        client = admin(kafka)
        client.create_partitions([NewPartitions(topic.name, 2)])[topic.name].result(30)
        eventually(lambda: len(client.list_topics(topic.name, timeout=5).topics[topic.name].partitions) == 2)
        produce(kafka, topic, numbers(2, 6), partition=1)
        lander.until(6)
    assert ids(lake) == list(range(6))


@pytest.mark.parametrize("anew", [1, 5, 9], ids=lambda n: f"{n} messages in the new log")
def test_a_topic_made_anew_meanwhile_is_a_hard_stop(
    kafka: KafkaBroker, lake: Lake, monkeypatch: pytest.MonkeyPatch, anew: int
) -> None:
    monkeypatch.setattr(source, "_NEW_PARTITIONS", 0.3)
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(5))
    with Following(kafka, lake, topic) as lander:
        lander.until(5)
        make_anew(kafka, topic)
        produce(kafka, topic, numbers(100, 100 + anew))
        eventually(lambda: lander.failure)
    with pytest.raises(ArrivalError, match="was deleted and made anew"):
        next(follow(lake, topic, kafka_of(kafka), MADE))


def test_messages_that_go_before_they_are_read_are_a_hard_stop(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(5))
    landed = Lander(lake, topic, MADE).landed
    batches = kafka_of(kafka).follow(topic, landed, 10, 0.2)
    forget(kafka, topic, before=5)
    spans = kafka_of(kafka)._spans
    assert [s.start for s in spans(topic, landed)] == [5]
    produce(kafka, topic, numbers(5, 8))
    with closing(batches):  # pyright: ignore[reportArgumentType]
        assert [a.span.start for a in next(batches)] == [5]


def test_a_broker_that_restarts_is_waited_for_and_nothing_is_lost(
    own_broker: KafkaBroker, lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    topic = new_topic(own_broker)
    produce(own_broker, topic, numbers(10))
    with caplog.at_level(logging.WARNING), Following(own_broker, lake, topic) as lander:
        lander.until(10)
        own_broker.kill()
        eventually(lambda: "cannot be reached" in caplog.text)
        time.sleep(1)
        own_broker.start()
        produce(own_broker, topic, numbers(10, 20))
        lander.until(20)
    assert ids(lake) == list(range(20))
    assert max(places(lake).values()) == 1
    said = [record.getMessage().partition(own_broker.bootstrap)[2] for record in caplog.records]
    assert said == [" cannot be reached; waiting for it", " answers again"]


def test_a_broker_that_is_down_at_the_start_is_said(lake: Lake) -> None:
    with pytest.raises(BrokerUnreachable, match="did not answer in 1 s"):
        next(follow(lake, TOPIC, source.Kafka("127.0.0.1:1", timeout=1), MADE))


# What it holds


def test_no_more_than_two_batches_are_held_however_slow_the_landing(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(100))
    taken: list[int] = []

    def counted(batches: Iterator[list[Arrived]]) -> Iterator[list[Arrived]]:
        for batch in batches:
            taken.append(batch[0].span.end)
            yield batch

    following = kafka_of(kafka).follow(topic, Lander(lake, topic, MADE).landed, 10, 1)
    with closing(read_ahead(counted(following))) as batches:  # pyright: ignore[reportArgumentType]
        for number in range(1, 4):
            next(batches)
            time.sleep(0.2)
            assert len(taken) <= number + 1


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_memory_stays_bounded_in_a_burst_and_the_lag_returns_to_nothing(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka, codec="json")
    one = value_of(message(7, note="x" * 400))
    with Following(kafka, lake, topic, rows=10_000, seconds=0.2) as lander:
        produce(kafka, topic, [one] * 20_000)
        lander.until(20_000)
        gc.collect()
        before, most = resident(), 0
        burst = threading.Thread(target=produce, args=(kafka, topic, [one] * 200_000))
        burst.start()
        while lander.done.messages < 220_000 and not lander.failure:
            most = max(most, resident())
            time.sleep(0.02)
        burst.join()
        assert not lander.failure
    assert lander.lag == 0
    assert most - before < 400 * 2**20, f"{(most - before) >> 20} MiB for a log of {len(one or b'') * 200_000 >> 20}"


def test_small_files_are_merged_while_landing_goes_on(
    kafka: KafkaBroker, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "COMPACT_AFTER", 5)
    topic = new_topic(kafka)
    produce(kafka, topic, [message(n, amount=-1 if n % 2 else 1) for n in range(60)])
    landings = follow(lake, topic, kafka_of(kafka), MADE, rows=2, until_caught_up=True)
    assert sum(done.commits for done, _ in landings) == 30
    assert ids(lake) == list(range(0, 60, 2))
    assert ids_of(rows(lake, REJECTED)) == list(range(1, 60, 2))
    for table in (TABLE, REJECTED):
        handle = lake.open(table)
        assert handle
        assert len(handle.file_uris()) < 20


def ids_of(rejected: pl.DataFrame) -> list[int]:
    return sorted(rejected["row"].str.json_path_match("$.ID").cast(pl.Int64))


def test_merging_that_fails_stops_the_landing(kafka: KafkaBroker, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "COMPACT_AFTER", 1)

    def broken(*_: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(landing, "compact", broken)
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(50))
    with pytest.raises(OSError, match="no space left"):
        list(follow(lake, topic, kafka_of(kafka), MADE, rows=1, until_caught_up=True))


def test_closing_ends_the_consumer_and_every_thread(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(3))
    before = set(threading.enumerate())
    landings: Any = follow(lake, topic, kafka_of(kafka), MADE, seconds=0.2)
    next(landings)
    held = len(list(TASKS.iterdir()))
    began = time.monotonic()
    landings.close()
    assert time.monotonic() - began < 1
    assert set(threading.enumerate()) <= before
    assert len(list(TASKS.iterdir())) < held


# Any split, any crash, any rival, without a broker


class Split:
    """A log whose messages come in the batches that a test wants, from wherever its reader stood at first."""

    name = "a split log"

    def __init__(self, values: Sequence[bytes], widths: Sequence[int], start: int | None = None) -> None:
        self.values, self.widths, self.start = values, widths, start

    def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
        first = landed("log/0") or 0 if self.start is None else self.start
        return [Span("log/0", first, len(self.values), "a log")]

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        (offered,) = self.offered(topic, landed)
        start, widths = offered.start, iter(self.widths)
        while start < offered.end:
            end = min(start + next(widths, 1_000), offered.end)
            span = Span("log/0", start, end, "a log")
            yield [Arrived(span, partial(CODECS["json"], self.values[start:end], range(start, end), topic.columns))]
            start = end


KINDS = {TABLE: {}, LATE: {"arrived_at": "2024-01-06T12:00:00Z"}, REJECTED: {"amount": -1}}
STEPS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(0, 3)), max_size=14)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12), STEPS)
def test_each_message_is_once_in_its_table_whoever_lands_it_and_wherever_he_dies(
    kinds: list[str], steps: list[tuple[int, int, int]]
) -> None:
    """A step is one batch of one of three landers; it dies after so many of its commits, or (3) does not."""
    values = [value_of(message(n, **KINDS[kind])) or b"" for n, kind in enumerate(kinds)]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        lake = Lake(folder)
        landers: dict[int, tuple[Lander, Iterator[list[Arrived]]]] = {}
        for who, width, commits in steps:
            if who not in landers:
                lander = Lander(lake, TOPIC, MADE)
                landers[who] = lander, Split(values, [width] * 20).batches(TOPIC, lander.landed, 0)
            lander, batches = landers[who]
            batch = next(batches, None)
            if batch is None or not one_step(lander, batch, commits, patch):
                del landers[who]
        landing.land(lake, TOPIC, Split(values, []), MADE)
        found = places(lake)
    assert found == {("log/0", n, kind): 1 for n, kind in enumerate(kinds)}


class Died(Exception):
    pass


def one_step(lander: Lander, batch: list[Arrived], commits: int, patch: pytest.MonkeyPatch) -> bool:
    """Land a batch, or die before commit number `commits`; what others have landed meanwhile adds nothing."""
    append, made = Lake.append, [0]

    def dying(*args: Any, **more: Any) -> None:
        if made[0] == commits:
            raise Died
        made[0] += 1
        append(*args, **more)

    with patch.context() as here:
        here.setattr(Lake, "append", dying)
        try:
            lander.land(batch)
        except (Died, ArrivalError):  # an ArrivalError: a batch before this one died, so this one is refused
            return False
    return True
