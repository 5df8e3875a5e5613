"""Topics of a real broker with messages of the small topic, and what has landed of them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from time import monotonic, sleep
from typing import Any

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from convergence.arrivals.kafka import Kafka
from convergence.arrivals.lander import Landed, land
from convergence.arrivals.topics import Topic
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from convergence.services.topics import create_topic
from tests.convergence.arrivals.landing import TOPIC, Message, message, rows

MADE = Provenance("run", "1")
_numbers = count()


def new_topic(broker: KafkaBroker, partitions: int = 1, **changes: Any) -> Topic:
    """A topic of its own, made in the broker."""
    topic = replace(TOPIC, **({"name": f"shop.payments-{next(_numbers)}"} | changes))
    create_topic(broker.bootstrap, topic.name, partitions)
    return topic


def kafka_of(broker: KafkaBroker) -> Kafka:
    return Kafka(broker.bootstrap)


def value_of(of: Message | str | bytes | None) -> bytes | None:
    return of if of is None or isinstance(of, bytes) else (of if isinstance(of, str) else json.dumps(of)).encode()


def produce(
    broker: KafkaBroker,
    topic: Topic,
    messages: Sequence[Message | str | bytes | None],
    partition: int = 0,
    headers: Sequence[dict[str, bytes | None] | None] | None = None,
) -> None:
    """Messages in order, acknowledged; `headers` for each."""
    settings = {"bootstrap.servers": broker.bootstrap, "enable.idempotence": True}
    producer = Producer(settings | {"queue.buffering.max.messages": 1_000_000})
    said = headers or [None] * len(messages)
    for number, (one, head) in enumerate(zip(messages, said, strict=True)):
        extra: dict[str, Any] = {"headers": head} if head else {}
        producer.produce(topic.name, value_of(one), f"key {number}", partition, **extra)
        if number % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(30) == 0


def numbers(*span: int) -> list[Message]:
    """Good messages with these numbers."""
    return [message(n) for n in range(*span)]


def transaction(broker: KafkaBroker, topic: Topic, messages: Sequence[Message], *, commit: bool) -> None:
    """Messages in a transaction, which ends with a marker in the log."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": f"t{next(_numbers)}"})
    producer.init_transactions(30)
    before = end_of(broker, topic)
    producer.begin_transaction()
    for one in messages:
        producer.produce(topic.name, value_of(one), partition=0)
    producer.flush(30)
    producer.commit_transaction(30) if commit else producer.abort_transaction(30)
    eventually(lambda: end_of(broker, topic) > before + len(messages))  # the marker is written a little later


def end_of(broker: KafkaBroker, topic: Topic) -> int:
    """Where the partitions end for a reader of committed messages, in all."""
    return sum(span.end for span in Kafka(broker.bootstrap).offered(topic, lambda _: None))


def forget(broker: KafkaBroker, topic: Topic, before: int, partition: int = 0) -> None:
    """What retention does: messages before this offset are gone."""
    client = admin(broker)  # what it was asked ends with it
    for done in client.delete_records([TopicPartition(topic.name, partition, before)]).values():
        done.result(30)


def make_anew(broker: KafkaBroker, topic: Topic, partitions: int = 1) -> None:
    """Delete the topic and make another one with its name."""
    delete(broker, topic)
    create_topic(broker.bootstrap, topic.name, partitions)


def delete(broker: KafkaBroker, topic: Topic) -> None:
    client = admin(broker)
    client.delete_topics([topic.name])[topic.name].result(30)
    eventually(lambda: topic.name not in client.list_topics(timeout=10).topics)


def admin(broker: KafkaBroker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap, "log_level": 0})


def landed_from(broker: KafkaBroker, lake: Lake, topic: Topic, **more: Any) -> Landed:
    """What is there, by a lander that remembers nothing."""
    return land(lake, topic, kafka_of(broker), MADE, **more)


def ids(lake: Lake, table: str = TOPIC.table) -> list[int]:
    """The numbers of the landed messages, in order of number; empty if nothing has landed."""
    return sorted(rows(lake, table)["payment_id"])


def eventually(true: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until it is true; fail if that takes too long."""
    until = monotonic() + seconds
    while not true():
        assert monotonic() < until, "it has not come true"
        sleep(0.02)
