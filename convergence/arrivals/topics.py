"""What a topic carries and how its messages become rows, and what any source of messages can be asked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Protocol

import polars as pl

from convergence.arrivals.codecs import OFFSET, Messages
from convergence.lake.contracts import Contract, schema_of
from convergence.lake.tables import DAY

History = Callable[[Path | None], tuple[pl.LazyFrame, str]]

ADDED = ("source", "offset", DAY)  # columns that landing adds to those of a message
ARRIVED, SCHEMA_VERSION = "arrived_at", "schema_version"
ORIGIN = "origin"  # header of a message that says where its data come from: published, or simulated
BROKER_TIME = "broker.time"  # beside a message's columns: when the broker took it, where the source knows


@dataclass(frozen=True)
class Topic:
    """One stream of events and the table it lands in.

    `contract` describes the landed rows. Its columns come from the message under their own name or under the name in
    `renames`, except those that landing adds: event_date, source, offset, and arrived_at where the message has none.
    """

    name: str
    table: str
    contract: Contract
    first_day: date
    last_day: date
    late_after: timedelta  # arrived_at - event_time above this goes to <table>_late
    assumed_lateness: timedelta | None  # of messages that do not say when they arrived; None: the broker's time counts
    renames: Mapping[str, str]
    history: History  # the published data set below CONVERGENCE_DATA, or a simulator: frame of messages, and its origin
    clock: str  # the message column with the event time, before renaming
    key: str  # the message column that keeps its order: equal keys go to one partition
    codec: str = "json"  # of messages in a broker, one of convergence.arrivals.codecs.CODECS
    schema_versions: frozenset[int] = frozenset({1})  # that a message may say it has; one that says nothing has 1
    silent_after: timedelta | None = None  # without a message, a live topic is overdue; half as long again: it failed
    clock_skew: timedelta = timedelta(minutes=5)  # an event further in the future of its arrival is rejected

    def __post_init__(self) -> None:
        # Pandera names an inherited rule as declared in the first contract that it resolves, and by its method in all
        # others: landed rows come first, so that names do not depend on who imports whom
        schema_of(self.contract)

    @property
    def tables(self) -> list[str]:
        """Every table that its messages land in."""
        return [self.table, f"{self.table}_late", f"{self.table}_rejected"]

    @property
    def carried(self) -> list[str]:
        """The contract's columns that a message must bring."""
        return [name for name in schema_of(self.contract) if name not in (*ADDED, ARRIVED)]

    @property
    def columns(self) -> dict[str, pl.DataType]:
        """What is read from a message, under the message's names, with the contract's types."""
        schema = schema_of(self.contract)
        wanted = {self.original(name): schema[name] for name in [*self.carried, ARRIVED]}
        return wanted | {SCHEMA_VERSION: pl.Int64()}

    def original(self, column: str) -> str:
        """The name in a message of a column of the contract."""
        return next((old for old, new in self.renames.items() if new == column), column)


@dataclass(frozen=True)
class Span:
    """Messages [start, end) of one partition of a topic. `application` names the partition in the lake's commits."""

    application: str
    start: int
    end: int
    origin: str
    log: tuple[str, int] | None = None  # name and identity of the log, where one can be made anew under the same name


@dataclass(frozen=True)
class Arrived:
    """Messages of one partition. Whoever lands them decodes them, so that reading goes on meanwhile."""

    span: Span
    decode: Callable[[], Messages]
    behind: int = 0  # messages that the partition holds after these


def with_beside(messages: Messages, said: pl.DataFrame) -> Messages:
    """The messages with what was said beside them: `offset`, and of SCHEMA_VERSION and BROKER_TIME what is known.

    Where nothing was said of the version, that in the message counts.
    """
    said = said.cast({OFFSET: pl.Int64, **({SCHEMA_VERSION: pl.String} if SCHEMA_VERSION in said.columns else {})})
    rows, broken = (
        part.join(said, on=OFFSET, how="left", maintain_order="left", suffix=".beside")
        for part in (messages.rows, messages.broken)
    )
    if (beside := f"{SCHEMA_VERSION}.beside") in rows.columns:
        version = pl.coalesce(beside, pl.col(SCHEMA_VERSION).cast(pl.String))
        rows = rows.with_columns(version.alias(SCHEMA_VERSION)).drop(beside)
    return replace(messages, rows=rows, broken=broken)


NextOffset = Callable[[str], int | None]


class Source(Protocol):
    """Where messages come from: a drop folder, a broker. `landed` gives a partition's next offset; None: it is new."""

    @property
    def name(self) -> str:
        """For logs and metadata."""
        ...

    def offered(self, topic: Topic, landed: NextOffset) -> Sequence[Span]:
        """What has arrived and not landed, without reading it; a file not yet read counts as one message."""
        ...

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        """What is offered now, in order, about `rows` messages at a time, each partition at most once per batch."""
        ...


class Stream(Source, Protocol):
    """A source that goes on."""

    def follow(self, topic: Topic, landed: NextOffset, rows: int, seconds: float) -> Iterator[list[Arrived]]:
        """What arrives, for ever: after `seconds`, or `rows` messages before that; an empty list if nothing came."""
        ...
