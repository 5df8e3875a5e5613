"""What a topic carries and how its messages become rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from convergence.lake.contracts import Contract

History = Callable[[Path | None], tuple[pl.LazyFrame, str]]


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
    assumed_lateness: timedelta  # of messages that do not say when they arrived
    renames: Mapping[str, str]
    history: History  # the published data set below CONVERGENCE_DATA, or a simulator: frame of messages, and its origin
    clock: str  # the message column with the event time, before renaming


@dataclass(frozen=True)
class Span:
    """Messages [start, end) of one partition of a topic. `application` names the partition in the lake's commits."""

    application: str
    start: int
    end: int
    origin: str
