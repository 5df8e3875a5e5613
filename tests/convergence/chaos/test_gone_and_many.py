"""Messages that are gone stop the landing and are counted; a burst is landed in bounded memory (R-08, R-09)."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from convergence.arrivals.kafka import Kafka
from convergence.arrivals.lander import Lander, land
from convergence.arrivals.topics import Topic
from convergence.chaos.producing import fresh_topic
from convergence.errors import ArrivalError
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from convergence_assets.fraud.arrivals import TOPIC
from tests.convergence.chaos.evidence import load

MADE = Provenance("run", "1")
MEGABYTE = 2**20

_LAND = """
import resource, sys
from dataclasses import replace
from convergence.arrivals.kafka import Kafka
from convergence.arrivals.lander import follow
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from convergence_assets.fraud.arrivals import TOPIC

folder, bootstrap, name = sys.argv[1:]
topic, made = replace(TOPIC, name=name), Provenance("run", "1")
done = follow(Lake(folder), topic, Kafka(bootstrap), made, rows=20_000, until_caught_up=True)
total = sum(part.messages for part, _ in done)
print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def produce(kafka: KafkaBroker, topic: str, number: int) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "queue.buffering.max.messages": 1_000_000})
    values = load().planned.filter(pl.col("kind") == "message")["value"].to_list()
    small = [value for value in values if len(value) < 1000]
    for n in range(number):
        producer.produce(topic, small[n % len(small)], partition=0)
        if n % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0


def with_messages(kafka: KafkaBroker, name: str, number: int) -> Topic:
    fresh_topic(kafka.bootstrap, name, 1)
    produce(kafka, name, number)
    return replace(TOPIC, name=name)


def test_messages_whose_retention_has_run_out_stop_the_landing_and_are_counted(kafka: KafkaBroker, lake: Lake) -> None:
    topic = with_messages(kafka, "gone.retention", 120)
    land(lake, topic, Kafka(kafka.bootstrap), MADE)
    produce(kafka, topic.name, 480)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    (deleted,) = admin.delete_records([TopicPartition(topic.name, 0, 500)]).values()
    deleted.result()
    before = lake.open(topic.table)
    for _ in range(2):  # never a silent reset, however often it is tried
        with pytest.raises(ArrivalError, match="landed up to offset 120 and now starts at 500: 380 messages are gone"):
            land(lake, topic, Kafka(kafka.bootstrap), MADE)
    after = lake.open(topic.table)
    assert before
    assert after
    assert after.version() == before.version()
    assert lake.scan(topic.table).collect().height == 120


@pytest.mark.parametrize("messages", [50, 120, 300], ids=["fewer than landed", "as many", "more"])
def test_a_topic_made_anew_stops_the_landing(messages: int, kafka: KafkaBroker, lake: Lake) -> None:
    topic = with_messages(kafka, f"gone.anew-{messages}", 120)
    land(lake, topic, Kafka(kafka.bootstrap), MADE)
    with_messages(kafka, topic.name, messages)
    with pytest.raises(ArrivalError, match="was deleted and made anew"):
        land(lake, topic, Kafka(kafka.bootstrap), MADE)
    assert lake.scan(topic.table).collect().height == 120


def test_a_topic_that_is_deleted_stops_the_landing(kafka: KafkaBroker, lake: Lake) -> None:
    topic = with_messages(kafka, "gone.deleted", 10)
    land(lake, topic, Kafka(kafka.bootstrap), MADE)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([topic.name])[topic.name].result()
    with pytest.raises(ArrivalError, match=r"has no topic gone\.deleted, of which messages have landed"):
        land(lake, topic, Kafka(kafka.bootstrap), MADE)


def test_a_burst_ten_times_as_large_is_landed_in_the_same_memory(kafka: KafkaBroker, tmp_path: Path) -> None:
    peaks = []
    for number in (25_000, 250_000):
        topic = with_messages(kafka, f"burst.of-{number}", number)
        lake = Lake(str(tmp_path / topic.name))
        command = [sys.executable, "-W", "ignore", "-c", _LAND, lake.root, kafka.bootstrap, topic.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        landed, peak = (int(word) for word in done.stdout.split()[-2:])
        assert landed == number
        assert Lander(lake, topic, MADE).landed(Kafka(kafka.bootstrap).offered(topic, lambda _: 0)[0].application)
        peaks.append(peak / MEGABYTE)
    assert peaks[1] - peaks[0] < 150, peaks
