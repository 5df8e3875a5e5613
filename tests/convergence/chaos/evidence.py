"""Evidence of a landing without faults, made in this process from a log in memory, for the checker to judge."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import polars as pl

from convergence.arrivals.codecs import CODECS
from convergence.arrivals.lander import land
from convergence.arrivals.simulators.fraud import simulate
from convergence.arrivals.topics import Arrived, NextOffset, Span, Topic
from convergence.chaos.checker import Evidence
from convergence.chaos.load import Load, Mix, load_of
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from convergence_assets.fraud.arrivals import TOPIC

PARTITIONS = 3


@dataclass(frozen=True)
class Log:
    """A topic in memory: values by partition."""

    values: Sequence[Sequence[bytes]]
    name = "a log in memory"

    def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
        spans = (
            Span(f"kafka/{topic.name}@1/{p}", landed(f"kafka/{topic.name}@1/{p}") or 0, len(held), "memory")
            for p, held in enumerate(self.values)
        )
        return [span for span in spans if span.start < span.end]

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        for span in self.offered(topic, landed):
            held = self.values[int(span.application[-1])]
            for start in range(span.start, span.end, rows):
                end = min(start + rows, span.end)
                part = replace(span, start=start, end=end)
                yield [Arrived(part, partial(CODECS[topic.codec], held[start:end], range(start, end), topic.columns))]


@cache
def history() -> pl.DataFrame:
    """A small simulated history over all days of the topic."""
    return simulate(customers=120, terminals=240, start=TOPIC.first_day, days=153)


@cache
def load(seed: int = 7) -> Load:
    return load_of(TOPIC, history(), Mix(0.3, 0.4, 0.3, edges=True), seed)


def landed(folder: Path, topic: Topic = TOPIC, land_all: Callable[..., Any] = land) -> Evidence:
    """A log of the load's messages, landed in batches of 100, and what the checker needs to judge it."""
    planned = load().planned
    values: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    ledger = []
    for sequence, key, value in planned.select("sequence", "key", "value").iter_rows():
        partition = int(key) % PARTITIONS
        ledger.append((0, sequence, partition, len(values[partition])))
        values[partition].append(value)
    land_all(Lake(str(folder / "lake")), topic, Log(values), Provenance("run", "1"), 100)
    return Evidence(
        TOPIC,
        planned.select("sequence", "value", "belongs"),
        pl.DataFrame(ledger, schema=["producer", "sequence", "partition", "offset"], orient="row"),
        pl.DataFrame(
            [(p, o, value) for p, held in enumerate(values) for o, value in enumerate(held)],
            schema=["partition", "offset", "value"],
            orient="row",
        ),
        folder / "lake",
    )


def file_of(table: Path) -> Path:
    """The largest data file of a table."""
    return max((p for p in table.rglob("*.parquet") if "_delta_log" not in p.parts), key=lambda p: p.stat().st_size)


def rewrite(table: Path, change: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Change the rows of a table's largest file behind everybody's back; returns what they were."""
    path = file_of(table)
    before = pl.read_parquet(path, hive_partitioning=False)
    change(before).write_parquet(path)
    return before
