"""What there is, seen without the platform: the messages in the topic, and the tables from their logs and files.

Delta's log is replayed here by hand, so that a mistake of whoever writes or reads tables cannot hide itself.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl

from convergence.errors import ArrivalError

LOG = pl.Schema({"partition": pl.Int64(), "offset": pl.Int64(), "value": pl.Binary()})


@dataclass(frozen=True)
class Entry:
    """One commit of a table: files added and removed by path, transactions, and the manifest if it has one."""

    version: int
    added: dict[str, dict[str, str | None]]  # path -> partition values
    removed: frozenset[str]
    transactions: dict[str, int]
    manifest: dict[str, Any] | None


def read_topic(bootstrap: str, topic: str, timeout: float = 60) -> tuple[pl.DataFrame, dict[int, int]]:
    """Every message that a reader of committed messages is shown, and the end of each partition."""
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    found: list[tuple[Any, ...]] = []
    config = {"group.id": "witness", "isolation.level": "read_committed", "enable.partition.eof": True}
    consumer = Consumer(config | {"bootstrap.servers": bootstrap, "enable.auto.commit": False, "log_level": 0})
    try:
        partitions = consumer.list_topics(topic, timeout=timeout).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
        ends: dict[int, int] = {}
        due = time.monotonic() + timeout
        while len(ends) < len(partitions):
            if time.monotonic() > due:
                raise ArrivalError(
                    f"{topic} could not be read to its end in {timeout:g} s: {len(found)} messages so far"
                )
            for message in consumer.consume(1000, 0.1):
                error, place = message.error(), (message.partition(), message.offset())
                if error is None:
                    found.append((*place, message.value()))
                elif error.code() == KafkaError._PARTITION_EOF:
                    ends[place[0]] = place[1]  # pyright: ignore[reportArgumentType]
    finally:
        consumer.close()
    return pl.DataFrame(found, schema=LOG, orient="row").sort("partition", "offset"), ends


def entries(table: Path) -> Iterator[Entry]:
    """The log of a table from its JSON files, oldest first; nothing where there is no table."""
    for number, path in enumerate(sorted((table / "_delta_log").glob("*.json"))):
        if int(path.stem) != number:
            raise ArrivalError(f"{table.name}: the log goes from version {number - 1} to {path.stem}")
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        info = next((a["commitInfo"] for a in actions if "commitInfo" in a), {})
        yield Entry(
            version=number,
            added={unquote(a["add"]["path"]): a["add"]["partitionValues"] for a in actions if "add" in a},
            removed=frozenset(unquote(a["remove"]["path"]) for a in actions if "remove" in a),
            transactions={a["txn"]["appId"]: a["txn"]["version"] for a in actions if "txn" in a},
            manifest=json.loads(info["manifest"]) if "manifest" in info else None,
        )


def landed(table: Path) -> dict[str, int]:
    """The next offset of each partition (application id), as the table's log has it."""
    return {application: version for entry in entries(table) for application, version in entry.transactions.items()}


def rows_of(table: Path, files: dict[str, dict[str, str | None]]) -> pl.DataFrame:
    """The rows of these files, with the partition column; without columns if there is no file."""
    frames = []
    for path, values in files.items():
        frame = pl.read_parquet(table / path, hive_partitioning=False)
        frames.append(frame.with_columns(pl.lit(v).str.to_date().alias(k) for k, v in values.items()))
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
