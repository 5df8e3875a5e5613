"""Sends a trial's messages and keeps the ledger: which message the cluster acknowledged where, by which producer."""

import threading
from functools import partial
from pathlib import Path

import polars as pl
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from convergence.arrivals.producer import Acknowledged, send
from convergence.chaos.children import until
from convergence.chaos.load import Load, Send
from convergence.services.topics import create_topic

LEDGER = pl.Schema({"producer": pl.Int64(), "sequence": pl.Int64(), "partition": pl.Int64(), "offset": pl.Int64()})

_TIMEOUT = 90.0  # seconds that a message may take: longer than a broker needs to come back


class Sending(threading.Thread):
    """Sends a load while faults strike. `ledger` is complete when it has ended; `failure` says what went wrong."""

    def __init__(self, load: Load, bootstrap: str, topic: str, folder: Path) -> None:
        super().__init__(daemon=True)
        self._load, self._address, self._topic, self._folder = load, bootstrap, topic, folder
        self._parts: list[pl.DataFrame] = [pl.DataFrame(schema=LEDGER)]
        self.failure: Exception | None = None

    @property
    def ledger(self) -> pl.DataFrame:
        """Columns of LEDGER; `sequence` is the position in the plan."""
        return pl.concat(self._parts)

    def run(self) -> None:
        """Send everything, part by part."""
        try:
            for number, part in enumerate(self._load.sends):
                planned = self._load.planned[part.first : part.end]
                renumbered = planned.with_columns(sequence=pl.int_range(pl.len(), dtype=pl.Int64))
                sent = self._transaction(renumbered, part) if part.transaction else self._plain(renumbered, number)
                places = sent.select(
                    pl.lit(number, pl.Int64).alias("producer"),
                    pl.col("sequence") + part.first,
                    pl.col("partition").cast(pl.Int64),
                    "offset",
                )
                self._parts.append(places)
        except Exception as error:
            self.failure = error

    def _plain(self, planned: pl.DataFrame, number: int) -> pl.DataFrame:
        ledger = self._folder / f"ledger-{number:02}.parquet"
        rate, address = self._load.per_second, self._address
        return send(planned, bootstrap=address, topic=self._topic, ledger=ledger, rate=rate, timeout=_TIMEOUT)

    def _transaction(self, planned: pl.DataFrame, part: Send) -> pl.DataFrame:
        """Send in a transaction; what was aborted was never acknowledged."""
        config = {"transactional.id": f"{self._topic}-chaos", "partitioner": "murmur2_random", "log_level": 0}
        producer = Producer(config | {"bootstrap.servers": self._address})
        acknowledged = Acknowledged(planned)

        producer.init_transactions(_TIMEOUT)
        producer.begin_transaction()
        for sequence, key, value in planned.select("sequence", "key", "value").iter_rows():
            producer.produce(self._topic, value, key, on_delivery=partial(acknowledged.report, sequence))
        producer.flush(_TIMEOUT)  # so that an abort leaves messages behind in the log
        if part.transaction == "abort":
            producer.abort_transaction(_TIMEOUT)
            return acknowledged.ledger().clear()
        producer.commit_transaction(_TIMEOUT)
        return acknowledged.ledger()


def fresh_topic(bootstrap: str, name: str, partitions: int, timeout: float = 30) -> None:
    """A topic without messages, whatever was there. Raises KafkaException if the cluster does not make it."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    if name in admin.list_topics(timeout=timeout).topics:
        admin.delete_topics([name], operation_timeout=timeout)[name].result()
        if not until(lambda: name not in admin.list_topics(timeout=timeout).topics, timeout):
            raise KafkaException(f"topic {name} is still there {timeout:g} s after its deletion")
    create_topic(bootstrap, name, partitions)
