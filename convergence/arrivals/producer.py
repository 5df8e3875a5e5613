"""History as Kafka messages: a plan that is a pure function of frame and seed, then its sending, with a ledger of acks.

The plan holds every byte that will be sent and its order, so that what a broker or a lander made of it can be checked
against it; the ledger holds only what the cluster acknowledged, for what it did not may or may not be there.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.arrivals.poison import poisoned
from convergence.arrivals.topics import ARRIVED, ORIGIN, Topic
from convergence.errors import ArrivalError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

MESSAGE, DUPLICATE, LATE, POISON = KINDS = ("message", "duplicate", "late", "poison")
PLAN = pl.Schema(
    {
        "sequence": pl.Int64(),
        "kind": pl.Enum(KINDS),
        "sent_at": pl.Datetime("us", "UTC"),  # on the clock of the events, by which the plan is ordered
        "key": pl.String(),
        "value": pl.Binary(),
    }
)
LATENESS_HOURS = (1, 72)
REPEAT_MINUTES = (1, 360)

# Words of the random streams' seeds: what is drawn for one share does not depend on the others.
_LATE, _DUPLICATE, _POISON = range(3)
_IN_FLIGHT = 100_000
_ISO = "%Y-%m-%dT%H:%M:%S%.fZ"


@dataclass(frozen=True)
class Disorder:
    """What is wrong with a stream on purpose: shares of its messages, and factors by message or contract column."""

    duplicates: float = 0.0
    late: float = 0.0
    poison: float = 0.0
    shift: Mapping[str, float] | None = None
    seed: int = 0


def plan(topic: Topic, history: pl.DataFrame, disorder: Disorder) -> pl.DataFrame:
    """What to send, in order: the history by time of arrival, JSON values as in docs/streams.md. Schema: PLAN.

    Shares are of the number of messages, rounded. A late message arrives 1 to 72 hours after its neighbours, and says
    so; a duplicate is the same bytes again within 6 hours; poison is added, and none of it can be used. Equal
    arguments give equal plans. Raises ArrivalError for a shift of a column that is missing or no number.
    """
    arrived = topic.original(ARRIVED)
    shifted = history.with_columns(_shifts(topic, history, disorder.shift or {}))
    times = [_utc(pl.col(topic.clock)) + (topic.assumed_lateness or timedelta(0))]
    if arrived in history.columns:
        times.insert(0, _utc(pl.col(arrived)))
    base = shifted.with_columns(pl.coalesce(times).alias(arrived)).sort(arrived, maintain_order=True)

    late = _drawn(base.height, disorder.late, disorder.seed, _LATE)
    hours = _between(LATENESS_HOURS, 3600, late.size, disorder.seed, _LATE)
    delays = np.zeros(base.height, np.int64)
    delays[late] = hours
    base = base.with_columns(pl.col(arrived) + pl.Series(delays * 1_000_000).cast(pl.Duration("us")))
    messages = base.select(
        pl.when(pl.Series(delays) > 0).then(pl.lit(LATE)).otherwise(pl.lit(MESSAGE)).cast(PLAN["kind"]).alias("kind"),
        pl.col(arrived).alias("sent_at"),
        pl.col(topic.key).cast(pl.String).alias("key"),
        _json(base).cast(pl.Binary).alias("value"),
    )

    again = _drawn(base.height, disorder.duplicates, disorder.seed, _DUPLICATE)
    wait = pl.Series(_between(REPEAT_MINUTES, 60, again.size, disorder.seed, _DUPLICATE) * 1_000_000)
    duplicates = messages[again].with_columns(
        pl.lit(DUPLICATE).cast(PLAN["kind"]).alias("kind"), pl.col("sent_at") + wait.cast(pl.Duration("us"))
    )
    spoilt = messages[_drawn(base.height, disorder.poison, disorder.seed, _POISON)]
    poison = spoilt.with_columns(
        pl.lit(POISON).cast(PLAN["kind"]).alias("kind"),
        pl.Series("value", poisoned(topic, spoilt["value"].to_list()), pl.Binary),
    )
    ordered = pl.concat([messages, duplicates, poison]).sort("sent_at", maintain_order=True)
    return ordered.with_row_index("sequence").cast({"sequence": pl.Int64}).select(PLAN.names())


def _shifts(topic: Topic, history: pl.DataFrame, shift: Mapping[str, float]) -> Iterator[pl.Expr]:
    for name, factor in shift.items():
        column = name if name in history.columns else topic.original(name)
        kind = history.schema.get(column)
        if kind is None or not kind.is_numeric():
            numbers = [topic.renames.get(c, c) for c, d in history.schema.items() if d.is_numeric()]
            what = "has no such column" if kind is None else f"has {kind} there"
            raise ArrivalError(f"cannot shift {name}: {topic.name} {what}; its numbers are {', '.join(numbers)}")
        moved = pl.col(column) * factor
        # three times 57.16 is 171.48, not 171.48000000000002
        yield (moved.round().cast(pl.Int64) if kind.is_integer() else moved.round_sig_figs(12)).alias(column)


def _json(frame: pl.DataFrame) -> pl.Expr:
    """Each row as a flat JSON object; times in ISO 8601, UTC."""
    times = [_utc(pl.col(c)).dt.strftime(_ISO).alias(c) for c, d in frame.schema.items() if isinstance(d, pl.Datetime)]
    dates = [pl.col(c).dt.strftime("%Y-%m-%d").alias(c) for c, d in frame.schema.items() if d == pl.Date]
    written = {e.meta.output_name(): e for e in times + dates}
    return pl.struct(*(written.get(c, pl.col(c)) for c in frame.columns)).struct.json_encode()


def _utc(time: pl.Expr) -> pl.Expr:
    """A time with or without zone as UTC."""
    return time.cast(pl.Datetime("us", "UTC"))


def _drawn(of: int, share: float, seed: int, stream: int) -> NDArray[np.int64]:
    """Row numbers of a share of the rows, in order."""
    return np.sort(np.random.default_rng([seed, stream]).choice(of, round(of * share), replace=False))


def _between(limits: tuple[int, int], unit: int, number: int, seed: int, stream: int) -> NDArray[np.int64]:
    """Seconds between the limits, both included."""
    return np.random.default_rng([seed, stream, 1]).integers(limits[0] * unit, limits[1] * unit, number, endpoint=True)


class Acknowledged:
    """What the cluster acknowledged of a plan: partition and offset by sequence."""

    def __init__(self, planned: pl.DataFrame) -> None:
        self._planned = planned
        self._partitions = [-1] * planned.height
        self._offsets = [-1] * planned.height
        self.count = 0
        self.failures: list[str] = []

    def report(self, sequence: int, error: "KafkaError | None", message: "Message") -> None:
        """Take a delivery report of the client."""
        partition, offset = message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            self.failures.append(error.str() if error else "acknowledged without an offset")
            return
        self._partitions[sequence], self._offsets[sequence] = partition, offset
        self.count += 1

    def ledger(self) -> pl.DataFrame:
        """sequence, kind, key, sha256 (of the value, in hex), partition, offset; in the order of sending."""
        places = [
            pl.Series("partition", self._partitions, pl.Int32),
            pl.Series("offset", self._offsets, pl.Int64),
        ]
        sent = self._planned.with_columns(places).filter(pl.col("offset") >= 0)
        digests = pl.Series("sha256", [sha256(value).hexdigest() for value in sent["value"]], pl.String)
        return sent.select("sequence", "kind", "key", digests, "partition", "offset")


def send(
    planned: pl.DataFrame,
    *,
    bootstrap: str,
    topic: str,
    ledger: Path,
    origin: str | None = None,
    rate: float | None = None,
    timeout: float = 60,
    progress: Callable[[int], None] = lambda _: None,
) -> pl.DataFrame:
    """Send a plan in its order, at most `rate` messages a second, and write and return the ledger.

    The topic must exist. `origin` (published, or simulated by what) goes with each message as a header. `progress`
    gets the number acknowledged so far. The ledger is written whatever happens.
    Raises ArrivalError when a message was not acknowledged within `timeout` seconds.
    """
    from confluent_kafka import KafkaException, Producer

    errors: list[str] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,  # with it acks=all, and the order within a partition is kept over retries
            "compression.type": "lz4",
            "partitioner": "murmur2_random",  # that of the Java client: a key goes where other producers send it
            "linger.ms": 20,
            "batch.size": 1_048_576,
            "queue.buffering.max.messages": 2 * _IN_FLIGHT,
            "delivery.timeout.ms": int(timeout * 1000),
            "log_level": 0,
            "error_cb": lambda error: errors.append(error.str()),
        }
    )
    acknowledged = Acknowledged(planned)
    chunk = max(1, min(2_000, int(rate / 20))) if rate else 2_000
    began, headers = time.monotonic(), {ORIGIN: origin} if origin else None
    try:
        messages = planned.select("sequence", "key", "value").iter_rows()
        for start in range(0, planned.height, chunk):
            if rate:
                _serve_until(producer, began + start / rate)
            for sequence, key, value in islice(messages, chunk):
                _enqueue(producer, topic, key, value, headers, partial(acknowledged.report, sequence))
            producer.poll(0)
            at_the_end = start + chunk >= planned.height
            while len(producer) > (0 if at_the_end else _IN_FLIGHT) and not acknowledged.failures:
                producer.poll(0.05)
                progress(acknowledged.count)
            progress(acknowledged.count)
            if acknowledged.failures:
                break
    except KafkaException as error:
        acknowledged.failures.append(error.args[0].str())
    finally:
        producer.purge()
        producer.flush(1)
        ledger.parent.mkdir(parents=True, exist_ok=True)
        written = acknowledged.ledger()
        written.write_parquet(ledger)
    if acknowledged.failures:
        raise ArrivalError(
            f"{topic}: only {acknowledged.count} of {planned.height} messages were acknowledged ({ledger}), then: "
            f"{acknowledged.failures[0]} ({errors[-1] if errors else bootstrap}). Look at the cluster, then replay "
            "again: what is sent a second time is one row in the first dataset"
        )
    return written


def _enqueue(
    producer: "Producer",
    topic: str,
    key: str,
    value: bytes,
    headers: Any,
    report: Callable[["KafkaError | None", "Message"], None],
) -> None:
    while True:
        try:
            return producer.produce(topic, value, key, on_delivery=report, headers=headers)
        except BufferError:  # the client's memory is full before _IN_FLIGHT is reached: the messages are large
            producer.poll(0.05)


def _serve_until(producer: "Producer", due: float) -> None:
    """Take delivery reports until it is time."""
    while (left := due - time.monotonic()) > 0:
        producer.poll(left)
