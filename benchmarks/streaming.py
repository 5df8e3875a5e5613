"""From a Kafka topic to a Delta table: the lander, a loop by hand without its guarantees, and Spark."""

import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import polars as pl
from confluent_kafka import Consumer, TopicPartition
from deltalake import write_deltalake

from benchmarks.data import roomiest
from benchmarks.measure import Row, Section, Times, alternately, compare, ratio, shown, spread
from benchmarks.stream import RENAMES, Small, Wide, broker, fill, stream
from convergence.arrivals.kafka import Kafka
from convergence.arrivals.lander import BATCH_ROWS, land
from convergence.errors import ServiceError
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from convergence.services.jars import install
from resources.environments import ROOT, settings

TITLE = "Kafka to the lake"
SLOWER, FASTER = 1 / 0.8, 1 / 5  # of the time: 0.8 times the messages a second of the loop, 5 times those of Spark
SPARK_BATCH = 500_000


def ours(bootstrap: str, topic: str, contract: type[Small], root: str) -> None:
    """Contract, late and rejected rows, content hash, manifest, and offsets in the commit that holds the rows."""
    land(Lake(root), stream(contract, topic), Kafka(bootstrap), Provenance("bench", "1"))


def by_hand(bootstrap: str, topic: str, contract: type[Small], root: str) -> None:
    """The same columns and rows to a commit; no offsets, contract, hash or manifest, and one bad message ends it."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "by-hand", "enable.auto.commit": False,
                         "fetch.queue.backoff.ms": 10})  # fmt: skip
    partitions = [TopicPartition(topic, p, 0) for p in consumer.list_topics(topic).topics[topic].partitions]
    left = sum(consumer.get_watermark_offsets(p)[1] for p in partitions)
    consumer.assign(partitions)
    while left:
        messages = consumer.consume(min(BATCH_ROWS, left), timeout=60)
        left -= len(messages)
        rows = pl.read_ndjson(b"\n".join([m.value() or b"" for m in messages])).rename(RENAMES)
        time = pl.col("event_time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", time_zone="UTC")
        rows = rows.with_columns(
            time,
            source=pl.Series([m.partition() for m in messages]).cast(pl.String),
            offset=pl.Series([m.offset() for m in messages]),
        ).with_columns(event_date=pl.col("event_time").dt.date(), arrived_at="event_time")
        write_deltalake(f"{root}/bench/transactions", rows, mode="append", partition_by=["event_date"])
    consumer.close()


def spark(bootstrap: str, cases: list[tuple[str, type[Small], str]]) -> list[Times]:
    """Seconds of each case in one process of local[2]; the first is not timed: it warms up. Raises ServiceError."""
    if find_spec("pyspark") is None:
        raise ServiceError("pyspark is not installed: `make bench` installs it")
    jars = install(ROOT / "deploy" / "spark", settings().home / "services" / "spark")
    targets = [(topic, contract.__name__, f"{root}/bench/transactions") for topic, contract, root in cases]
    todo = {"jars": ",".join(map(str, jars.glob("*.jar"))), "bootstrap": bootstrap, "most": SPARK_BATCH}
    command = [sys.executable, "-m", "benchmarks.spark_streaming", json.dumps(todo | {"cases": targets})]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # for its own processes, which load the source
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"Spark failed: {done.stderr.splitlines()[-1]}")
    return [Times([seconds], []) for seconds in json.loads(done.stdout.splitlines()[-1])[1:]]


def section(*, quick: bool) -> Section:
    """Small and large messages; without a broker there is nothing to measure."""
    try:
        with broker() as bootstrap, tempfile.TemporaryDirectory(dir=roomiest(), prefix="bench-") as scratch:
            rows = _measure(bootstrap, Path(scratch), quick=quick)
    except ServiceError as error:
        return Section(TITLE, f"Skipped: {error}", [])
    return Section(
        TITLE,
        "From the first question to the broker to the last commit, of a topic that is there in full; a broker, a new "
        "lake each time. Ours: `land`. By hand: confluent-kafka, `pl.read_ndjson`, `write_deltalake` (append, as many "
        "rows to a commit), without guard, contract, hash or manifest. Spark: Structured Streaming, local[2], a Python "
        "source on confluent-kafka, `from_json`, Delta append; once, after a warm-up, without the start of the "
        "session. All three end with the same columns and rows (checked). Ratios are of time: 1.25 is 0.8 times the "
        "messages a second, 0.2 is five times. The goal is of the messages a second, so it holds for the wall clock.",
        rows,
    )


def _measure(bootstrap: str, scratch: Path, *, quick: bool) -> list[Row]:
    cases = {Small: 300_000, Wide: 60_000} if quick else {Small: 2_000_000, Wide: 500_000}
    fill(bootstrap, "warm", 20_000, Small)
    gc.freeze()  # a script by hand has no Dagster on its heap that the collector would walk through
    names: dict[type[Small], str] = {}
    times: dict[type[Small], tuple[Times, Times]] = {}
    contents: dict[type[Small], set[tuple[int, ...]]] = {}
    for contract, rows in cases.items():
        size = fill(bootstrap, contract.__name__, rows, contract)
        names[contract] = f"{rows:,} messages of {size:.0f} bytes"
        (mine, theirs), contents[contract] = _by_turns(bootstrap, contract, scratch / "turns", 2 if quick else 3)
        times[contract] = mine, theirs
    try:
        measured = list(cases)[:1] if quick else list(cases)
        targets = [("warm", Small), *((contract.__name__, contract) for contract in measured)]
        seconds = spark(bootstrap, [(topic, c, str(scratch / topic)) for topic, c in targets])
        for contract in measured:
            contents[contract].add(_content(scratch / contract.__name__))
    except ServiceError as error:
        print(f"Spark is left out: {error}", flush=True)
        seconds = []
    for contract, rows in cases.items():
        ((landed, distinct, *_),) = contents[contract]  # one content, whoever wrote it and whenever
        assert landed == distinct == rows, f"{rows} messages became {landed} rows with {distinct} ids"
    found = [_row(f"{names[c]}, by hand", mine, theirs, cases[c], SLOWER) for c, (mine, theirs) in times.items()]
    by_spark = zip(times.items(), seconds, strict=False)
    return found + [_row(f"{names[c]}, Spark", mine, its, cases[c], FASTER) for (c, (mine, _)), its in by_spark]


def _by_turns(
    bootstrap: str, contract: type[Small], root: Path, repetitions: int
) -> tuple[list[Times], set[tuple[int, ...]]]:
    """Times of ours and by hand, and what the tables held after each of the runs."""
    contents: set[tuple[int, ...]] = set()

    def fresh() -> None:
        if root.exists():
            contents.add(_content(root))
            shutil.rmtree(root)

    works = [partial(work, bootstrap, contract.__name__, contract, str(root)) for work in (ours, by_hand)]
    times = alternately(repetitions, *works, before=fresh)
    fresh()
    return times, contents


def _content(root: Path) -> tuple[int, ...]:
    """Rows, distinct ids, and a checksum of every column but the name of the source."""
    rows = pl.scan_delta(str(root / "bench" / "transactions"))
    columns = sorted(set(rows.collect_schema().names()) - {"source"})
    sums = [pl.col(name).hash().sum().alias(name) for name in columns]
    return rows.select(pl.len(), pl.col("transaction_id").n_unique().alias("distinct"), *sums).collect().row(0)


def _row(case: str, ours: Times, reference: Times, rows: int, at_most: float) -> Row:
    """A comparison with the messages a second; the goal is about the wall clock."""
    if reference.cpu:
        row = compare(case, ours, reference)
    else:
        pairs = spread(ours.wall, reference.wall * len(ours.wall))
        row = Row(case, shown(ours), f"{reference.wall[0]:.3g} s", pairs, "")
    rates = [f"{rows / median(times.wall) / 1000:,.0f} k/s" for times in (ours, reference)]
    met = ratio(ours.wall, reference.wall) <= at_most
    return replace(row, ours=f"{row.ours}, {rates[0]}", reference=f"{row.reference}, {rates[1]}",
                   goal=f"≤ {at_most} (wall)", met=met)  # fmt: skip
