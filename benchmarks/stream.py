"""The stream of the streaming sections: card transactions as JSON, small or of about 1 kB, on a broker of their own.

Preloaded topics, so that whoever reads them is the only thing that is measured.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import pandera.polars as pa
import polars as pl

from benchmarks.data import FIRST_DAY
from convergence.arrivals.topics import Topic
from convergence.errors import ServiceError
from convergence.lake.contracts import StrictColumns
from convergence.services.kafka import KafkaBroker, install_kafka
from convergence.services.topics import create_topic
from resources.environments import settings

PARTITIONS = 2
SPAN = timedelta(days=3)  # of event time, whatever the number of messages
RENAMES = {"t": "event_time", "id": "transaction_id", "card": "card_id"}


class Small(pa.DataFrameModel):
    """What the short messages hold, and what landing adds."""

    event_date: date
    event_time: Annotated[pl.Datetime, "us", "UTC"]
    arrived_at: Annotated[pl.Datetime, "us", "UTC"]
    transaction_id: int = pa.Field(ge=0)
    card_id: int = pa.Field(ge=0)
    amount: float = pa.Field(ge=0)
    source: str
    offset: int = pa.Field(ge=0)

    class Config(StrictColumns):
        """Columns are as declared."""


class Wide(Small):
    """The same with texts: few different agents, many merchants, and a device and a note that never repeat."""

    agent: str
    merchant: str
    device: str
    note: str


def stream(
    contract: type[Small],
    name: str = "bench.transactions",
    *,
    first_day: date = FIRST_DAY,
    last_day: date = FIRST_DAY + SPAN,
) -> Topic:
    """A topic that lands in bench/transactions; the messages do not say when they arrived."""
    return Topic(
        name=name,
        table="bench/transactions",
        contract=contract,
        first_day=first_day,
        last_day=last_day,
        late_after=timedelta(hours=48),
        assumed_lateness=timedelta(0),
        renames=RENAMES,
        history=lambda _: (pl.LazyFrame(), "benchmark"),
        clock="t",
        key="card",
    )


def frames(rows: int, contract: type[Small], *, span: timedelta = SPAN, chunk: int = 100_000) -> Iterator[pl.DataFrame]:
    """The messages before they become JSON, spread over `span` in order of time, `chunk` at a time."""
    random = np.random.default_rng(0)
    step = span // timedelta(microseconds=1) // rows
    for start in range(0, rows, chunk):
        ids = np.arange(start, min(start + chunk, rows))
        time = np.datetime64(FIRST_DAY, "us") + (ids * step + random.integers(0, step, len(ids))).astype("m8[us]")
        frame = pl.DataFrame(
            {
                "t": pl.Series(time).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
                "id": ids,
                "card": random.integers(0, 50_000, len(ids)),
                "amount": np.round(random.lognormal(3, 1.2, len(ids)), 2),
            }
        )
        yield frame.with_columns(_texts(len(ids), random)) if contract is Wide else frame


def values(frame: pl.DataFrame) -> list[bytes]:
    """The messages of a frame as they are sent."""
    return frame.select(pl.struct(pl.all()).struct.json_encode().cast(pl.Binary)).to_series().to_list()


def fill(bootstrap: str, topic: str, rows: int, contract: type[Small], *, partitions: int = PARTITIONS) -> float:
    """Make the topic and send `rows` messages to its partitions in turn; returns their mean size in bytes."""
    from confluent_kafka import Producer

    create_topic(bootstrap, topic, partitions)
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": "lz4", "linger.ms": 50,
                         "queue.buffering.max.messages": 1_000_000, "queue.buffering.max.kbytes": 1 << 20})  # fmt: skip
    size = 0
    for frame in frames(rows, contract):
        sent = values(frame)
        size += sum(map(len, sent))
        for number, value in enumerate(sent):
            producer.produce(topic, value, partition=number % partitions)
        if producer.flush(60):
            raise ServiceError(f"{bootstrap} has not taken the messages of {topic} in 60 s")
    return size / rows


@contextmanager
def broker() -> Iterator[str]:
    """A broker with a folder of its own for as long as the context lasts. Raises ServiceError where none can run."""
    libs = install_kafka(settings().home / "services")
    with tempfile.TemporaryDirectory(prefix="bench-kafka-") as folder:
        server = KafkaBroker(Path(folder), libs)
        server.start()
        try:
            yield server.bootstrap
        finally:
            server.stop()


def _texts(rows: int, random: np.random.Generator) -> list[pl.Series]:
    words = np.array([f"word{n:05d}" for n in range(5_000)])
    agents = np.array(
        [f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{n} Safari/537.36" for n in range(50)]
    )
    merchants = np.array([f"merchant number {n} of the town" for n in range(2_000)])
    return [
        pl.Series("agent", agents[random.integers(0, len(agents), rows)]),
        pl.Series("merchant", merchants[random.integers(0, len(merchants), rows)]),
        pl.Series("device", [f"{a:016x}-{b:016x}" for a, b in random.integers(0, 1 << 62, (rows, 2))]),
        pl.Series("note", [" ".join(line) for line in words[random.integers(0, len(words), (rows, 75))]]),
    ]
