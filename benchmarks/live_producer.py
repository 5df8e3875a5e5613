"""A steady stream of stamped messages, as a process: `python -m benchmarks.live_producer BOOTSTRAP TOPIC SECONDS`."""

import sys
import time
from datetime import UTC, datetime

from confluent_kafka import Producer

RATE = 20_000  # messages a second
TICK = 0.005  # seconds between bursts
PARTITIONS = 2


def produce(bootstrap: str, topic: str, seconds: float) -> None:
    """Messages whose event time is the moment at which they are handed to the client."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "compression.type": "lz4"})
    began, sent = time.time(), 0
    while (passed := time.time() - began) < seconds:
        while sent < passed * RATE:
            stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            value = f'{{"t":"{stamp}","id":{sent},"card":{sent * 7919 % 50_000},"amount":{sent * 31 % 9_973 / 100}}}'
            producer.produce(topic, value, partition=sent % PARTITIONS)
            sent += 1
        producer.poll(0)
        time.sleep(TICK)
    producer.flush(30)


if __name__ == "__main__":
    produce(sys.argv[1], sys.argv[2], float(sys.argv[3]))
