"""Kafka as a Python data source of Spark, with the option names of Spark's own connector.

The connector itself cannot be measured here: not all of its jars are published where Maven looks.
"""

# pyright: reportMissingImports=false
# pyspark and pyarrow come with `make bench` only

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition
from pyspark.sql.datasource import DataSource, DataSourceStreamReader, InputPartition
from pyspark.sql.streaming.datasource import ReadAllAvailable, ReadLimit, ReadMaxRows, SupportsTriggerAvailableNow
from pyspark.sql.types import StructType

CHUNK = 50_000


@dataclass
class Range(InputPartition):
    """Messages [start, end) of one partition."""

    partition: int
    start: int
    end: int


class KafkaSource(DataSource):
    """`spark.readStream.format("kafka_python")`."""

    @classmethod
    def name(cls) -> str:
        return "kafka_python"

    def schema(self) -> str:
        return "value BINARY, partition INT, offset BIGINT"

    def streamReader(self, schema: StructType) -> DataSourceStreamReader:  # noqa: N802
        return KafkaReader(dict(self.options))


class KafkaReader(DataSourceStreamReader, SupportsTriggerAvailableNow):
    """Offsets are in Spark's checkpoint: a dictionary of partition and next offset."""

    def __init__(self, options: dict[str, str]) -> None:
        lower = {key.lower(): value for key, value in options.items()}
        self.topic, self.most = lower["subscribe"], int(lower["maxoffsetspertrigger"])
        self.servers = lower["kafka.bootstrap.servers"]
        self.last: dict[str, int] | None = None

    def initialOffset(self) -> dict:  # noqa: N802
        return self._watermarks(0)

    def prepareForTriggerAvailableNow(self) -> None:  # noqa: N802
        self.last = self._watermarks(1)

    def getDefaultReadLimit(self) -> ReadLimit:  # noqa: N802
        return ReadMaxRows(self.most)

    def latestOffset(self, start: dict, limit: ReadLimit) -> dict:  # noqa: N802
        ends = self.last or self._watermarks(1)
        share = sys.maxsize if isinstance(limit, ReadAllAvailable) else -(-self.most // len(ends))
        return {partition: min(end, start[partition] + share) for partition, end in ends.items()}

    def partitions(self, start: dict, end: dict) -> Sequence[InputPartition]:
        return [Range(int(p), start[p], end[p]) for p in end if end[p] > start[p]]

    def read(self, partition: Any) -> Iterator[Any]:
        consumer = self._consumer()
        consumer.assign([TopicPartition(self.topic, partition.partition, partition.start)])
        position = partition.start
        while position < partition.end:
            messages = consumer.consume(min(CHUNK, partition.end - position), timeout=10)
            if not messages:
                raise TimeoutError(f"{self.topic}/{partition.partition}: nothing came at offset {position} for 10 s")
            position += len(messages)
            yield pa.RecordBatch.from_pydict(
                {
                    "value": pa.array([m.value() for m in messages], pa.binary()),
                    "partition": pa.array([partition.partition] * len(messages), pa.int32()),
                    "offset": pa.array([m.offset() for m in messages], pa.int64()),
                }
            )
        consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer({"bootstrap.servers": self.servers, "group.id": "spark", "enable.auto.commit": False,
                         "fetch.queue.backoff.ms": 10})  # fmt: skip

    def _watermarks(self, side: int) -> dict[str, int]:
        consumer = self._consumer()
        known = consumer.list_topics(self.topic, timeout=10).topics[self.topic].partitions
        offsets = {str(p): consumer.get_watermark_offsets(TopicPartition(self.topic, p))[side] for p in known}
        consumer.close()
        return offsets
