"""A Kafka topic as a source of messages: offsets are those of the log, and only the lake remembers how far it got.

Partitions are assigned by hand and no offset is committed to the broker: the lake's commits are the one truth, so
there is no consumer group that could disagree with it.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import Any

import polars as pl
from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # pyright: ignore[reportPrivateImportUsage]

from convergence.arrivals.kafka_messages import Held, decode, headers_of, origin
from convergence.arrivals.topics import (
    Arrived,
    NextOffset,
    Span,
    Topic,
)
from convergence.errors import ArrivalError, BrokerUnreachable

_CLIENT: dict[str, Any] = {
    "socket.connection.setup.timeout.ms": 5_000,
    "reconnect.backoff.max.ms": 2_000,
    "log_level": 0,  # librdkafka writes to stderr by itself; errors reach us through error_cb
}
_CONSUMER = _CLIENT | {
    "group.id": "convergence",  # the client demands one; nothing is ever committed to it
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # an offset that is gone is a loss to be told, never skipped
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # the only sign of an end that is a transaction's marker and no message
    "fetch.queue.backoff.ms": 10,  # its default of a second costs nine tenths of the throughput
    "fetch.wait.max.ms": 100,
    "queued.max.messages.kbytes": 32_768,  # what the client reads ahead at most, in all: the brake of a burst
}
_MOVING = {KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE}  # for a moment: a topic is new
# The same silence in other words, from one question to the next: a message with them would be news each time.
_SILENT = {
    *(KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT),
    *(KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN),
}
_CHUNK = 500  # messages taken from the client at once: fewer than set off the garbage collector
_BATCH_BYTES = 128 << 20  # of values: so much is a batch, however few messages it holds
_NEW_PARTITIONS = 30.0  # seconds between two looks for new partitions
_SILENCE = 30.0  # seconds without a message, though there are some, after which a bounded read gives up
_UTC = pl.Datetime("us", "UTC")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kafka:
    """The topics of one cluster."""

    bootstrap: str
    timeout: float = 10.0  # seconds that a question to the cluster may take
    origin: str = "kafka"

    @property
    def name(self) -> str:
        """For logs and metadata."""
        return f"kafka {self.bootstrap}"

    def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
        """What each partition holds beyond what has landed. Raises BrokerUnreachable, ArrivalError for a lost topic."""
        return [
            span
            for span in self._spans(topic, landed)
            if span.end != (landed(span.application) or 0) or _is_another(span, landed)
        ]

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        """What the log holds now, up to `rows` messages at a time, and nothing that is produced meanwhile."""
        spans = [span for span in self.offered(topic, landed) if span.start < span.end]
        with _reading(self, topic, spans) as reader:
            while reader.open:
                yield reader.take(rows, _SILENCE)

    def require(self, topic: Topic) -> None:
        """Raise ArrivalError if the cluster has no such topic."""
        if not self._bounds(topic.name)[1]:
            raise ArrivalError(
                f"{self.name} has no topic {topic.name}: its producers make it, or "
                f"`convergence replay {topic.name} --to kafka --days A..B`"
            )

    def follow(self, topic: Topic, landed: NextOffset, rows: int, seconds: float) -> Iterator[list[Arrived]]:
        """What arrives, for ever: what there is after `seconds`, or `rows` messages before that; an empty list if none.

        A broker that cannot be reached is waited for; log and `behind` tell. New partitions are taken up.
        """
        with _reading(self, topic, self._spans(topic, landed), endless=True) as reader:
            looked = time.monotonic()
            while True:
                batch = reader.take(rows, seconds)
                if batch or time.monotonic() - looked > _NEW_PARTITIONS:  # the client goes by the log's name alone
                    reader.take_up(self._spans_when_up(topic, landed, patient=bool(batch)))
                    looked = time.monotonic()
                yield batch

    def _spans_when_up(self, topic: Topic, landed: NextOffset, *, patient: bool) -> list[Span]:
        """The partitions; none if the cluster does not answer, unless `patient`: then it is waited for."""
        while True:
            try:
                return self._spans(topic, landed)
            except BrokerUnreachable:
                if not patient:
                    return []

    def _spans(self, topic: Topic, landed: NextOffset) -> list[Span]:
        """Every partition from where it has landed, or its beginning, to its end."""
        log = f"kafka/{topic.name}"
        identity, bounds = self._bounds(topic.name)
        if not bounds and landed(log) is not None:
            raise ArrivalError(f"{self.name} has no topic {topic.name}, of which messages have landed: restore it")
        spans = []
        for partition, (first, end) in bounds.items():
            application = f"{log}@{identity:x}/{partition}"
            last = landed(application)
            start = first if last is None or last > end else max(first, last)
            spans.append(Span(application, start, end, self.origin, (log, identity)))
        return spans

    @cached_property
    def _admin(self) -> AdminClient:
        """Kept: the client library aborts the process when it is given up while an answer is on its way."""
        return AdminClient(_CLIENT | {"bootstrap.servers": self.bootstrap})

    def _bounds(self, topic: str, attempts: int = 10) -> tuple[int, dict[int, tuple[int, int]]]:
        """Identity of the topic's log, and first offset and end of each partition; none where there is no topic."""
        admin = self._admin
        limit: dict[str, Any] = {"request_timeout": self.timeout}
        try:
            described = admin.describe_topics(TopicCollection([topic]), **limit)[topic].result(self.timeout)
            partitions = [TopicPartition(topic, p.id) for p in described.partitions]
            committed = limit | {"isolation_level": IsolationLevel.READ_COMMITTED}
            sought: list[tuple[Any, dict[str, Any]]] = [
                (OffsetSpec.earliest(), limit),
                (OffsetSpec.latest(), committed),
            ]
            asked = [admin.list_offsets(dict.fromkeys(partitions, where), **how) for where, how in sought]  # pyright: ignore[reportArgumentType]
            wait([future for found in asked for future in found.values()], self.timeout)
            firsts, ends = ({p.partition: f.result(self.timeout).offset for p, f in found.items()} for found in asked)
        except (KafkaException, FutureTimeout) as error:
            reason = error.args[0] if error.args else None
            code = reason.code() if isinstance(reason, KafkaError) else None
            if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return 0, {}
            if code in _MOVING and attempts:
                time.sleep(0.2)
                return self._bounds(topic, attempts - 1)
            why = f" ({reason.str()})" if isinstance(reason, KafkaError) and code not in _SILENT else ""
            raise BrokerUnreachable(
                f"{self.name} did not answer in {self.timeout:g} s{why}: start it (`convergence services up kafka`), "
                "or correct CONVERGENCE_KAFKA"
            ) from error
        identity = int.from_bytes(blake2b(str(described.topic_id).encode(), digest_size=7).digest())
        return identity, {p: (firsts[p], ends[p]) for p in sorted(firsts)}


class _Reader:
    """A consumer of one topic and how far it has read."""

    def __init__(self, kafka: Kafka, topic: Topic, spans: Sequence[Span], *, endless: bool) -> None:
        self.kafka, self.topic, self.endless = kafka, topic, endless
        self.spans = _by_partition(spans)
        self.position = {partition: span.start for partition, span in self.spans.items()}
        self.down = False
        config = _CONSUMER | {"bootstrap.servers": kafka.bootstrap, "error_cb": self._on_error}
        self.consumer = Consumer(config)
        self.consumer.assign([TopicPartition(topic.name, p, at) for p, at in self.position.items()])

    @property
    def open(self) -> bool:
        """Whether anything of a bounded range is left."""
        return any(self.position[p] < span.end for p, span in self.spans.items())

    def take_up(self, spans: Iterable[Span]) -> None:
        """Begin to read the partitions among these that are new. Raises ArrivalError if the log was made anew."""
        found = _by_partition(spans)
        if found:
            self._answered()
        for partition, span in found.items():
            if partition in self.spans and span.application != self.spans[partition].application:
                raise ArrivalError(
                    f"{self.kafka.name}: {self.topic.name} was deleted and made anew while it was read: look what of "
                    f"the former log has landed, then `convergence land {self.topic.name} --accept-loss`"
                )
            if partition not in self.spans:
                self.spans[partition], self.position[partition] = span, span.start
                self.consumer.incremental_assign([TopicPartition(self.topic.name, partition, span.start)])

    def take(self, rows: int, seconds: float) -> list[Arrived]:
        """Messages until `rows` are there, the range ends or, if endless, `seconds` have passed."""
        held = {partition: Held() for partition in self.spans}
        before, count, size, due = dict(self.position), 0, 0, time.monotonic() + seconds
        while count < rows and size < _BATCH_BYTES and (self.endless or self.open):
            left = due - time.monotonic()
            if left <= 0:
                if self.endless:
                    break
                where = f"{self.kafka.name}: {self.topic.name}"
                raise BrokerUnreachable(f"{where} holds more, but for {seconds:g} s nothing came: is the broker up?")
            chunk = self.consumer.consume(min(_CHUNK, rows - count), min(left, 0.1))
            self._check(chunk)
            size += sum(len(m) for m in chunk)
            for partition in sorted({_partition(m) for m in chunk}):
                count += self._keep(partition, [m for m in chunk if m.partition() == partition], held[partition])
            if chunk and not self.endless:
                due = time.monotonic() + seconds
        return [self._arrived(p, before[p], held[p]) for p in sorted(self.spans) if self.position[p] > before[p]]

    def _keep(self, partition: int, chunk: list[Message], held: Held) -> int:
        messages = [m for m in chunk if m.error() is None]
        if messages:
            self._answered()
        end, last = self.spans[partition].end, chunk[-1]
        if not self.endless and _offset(last) >= end:
            messages = [m for m in messages if _offset(m) < end]
        held.values += [m.value() for m in messages]
        held.offsets += [_offset(m) for m in messages]
        held.keys |= {_offset(m): key for m in messages if m.value() is None and (key := m.key()) is not None}
        held.headers += [headers_of(m) for m in messages]
        if self.topic.assumed_lateness is None:
            held.timestamps += [m.timestamp() for m in messages]
        reached = max(_offset(last) + (last.error() is None), self.position[partition])
        self.position[partition] = reached if self.endless else min(reached, end)
        return len(messages)

    def _arrived(self, partition: int, start: int, held: Held) -> Arrived:
        known, end = self.spans[partition], self.position[partition]
        _, high = self.consumer.get_watermark_offsets(TopicPartition(self.topic.name, partition), cached=True)
        span = Span(known.application, start, end, origin(held.headers) or known.origin, known.log)
        return Arrived(span, lambda: decode(self.topic, held), max(high - end, 0))

    def _check(self, chunk: list[Message]) -> None:
        for message in chunk:
            error = message.error()
            if error and error.code() != KafkaError._PARTITION_EOF:
                where = f"{self.kafka.name}: {self.topic.name}/{message.partition()}"
                raise ArrivalError(f"{where}: {error.str()}. Land again: it says what is missing")

    def _answered(self) -> None:
        if self.down:
            self.down = False
            _log.warning("%s answers again", self.kafka.name)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self.down:
            self.down = True
            _log.warning("%s cannot be reached; waiting for it", self.kafka.name)


@contextmanager
def _reading(kafka: Kafka, topic: Topic, spans: Sequence[Span], *, endless: bool = False) -> Iterator[_Reader]:
    reader = _Reader(kafka, topic, spans, endless=endless)
    try:
        yield reader
    finally:
        reader.consumer.close()


def _is_another(span: Span, landed: NextOffset) -> bool:
    """Whether the log was made anew since it last landed."""
    return span.log is not None and landed(span.log[0]) not in (None, span.log[1])


def _by_partition(spans: Iterable[Span]) -> dict[int, Span]:
    return {int(span.application.rpartition("/")[2]): span for span in spans}


def _partition(message: Message) -> int:
    partition = message.partition()
    return -1 if partition is None else partition


def _offset(message: Message) -> int:
    at = message.offset()
    return -1 if at is None else at  # a message that tells of an error may have none
