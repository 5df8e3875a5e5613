"""History played into a drop folder on its own clock: one file per event date, the same bytes whenever it is played."""

import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from convergence.arrivals.topics import Topic
from convergence.errors import ArrivalError
from convergence.lake.tables import DAY


def replay(
    topic: Topic,
    data: Path | None,
    inbox: Path,
    first: date,
    last: date,
    speed: float | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[date, int, str]]:
    """Write the messages of each day as they would have arrived, and yield day, messages and origin.

    `speed` is how many times faster than the event time to go (86400: a day a second); None: as fast as possible.
    A day that is there already is not written again, one without messages not at all. Raises ArrivalError for days
    outside the topic's history.
    """
    wanted, origin = history_of(topic, data, first, last)
    folder = inbox / topic.name
    folder.mkdir(parents=True, exist_ok=True)
    wanted = wanted.with_columns(pl.col(topic.clock).dt.date().alias(DAY))
    days = wanted.partition_by(DAY, as_dict=True, include_key=False)
    nothing = wanted.head(0).drop(DAY)
    began = time.monotonic()
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        messages = days.get((day,), nothing)
        if speed:
            due = began + (number + 1) * 86_400 / speed  # a day's file is complete when its last event has happened
            wait(max(0.0, due - time.monotonic()))
        _write(messages, folder, f"{day}.parquet", origin)
        yield day, messages.height, origin


def history_of(topic: Topic, data: Path | None, first: date, last: date) -> tuple[pl.DataFrame, str]:
    """A topic's messages of these event dates, in order of their clock, and their origin.

    Raises ArrivalError for days outside the topic's history.
    """
    if first > last or first < topic.first_day or last > topic.last_day:
        raise ArrivalError(
            f"{topic.name} has history from {topic.first_day} to {topic.last_day}; asked for {first} to {last}"
        )
    frame, origin = topic.history(data)
    within = frame.filter(pl.col(topic.clock).dt.date().is_between(first, last))
    return within.sort(topic.clock, maintain_order=True).collect(), origin


def _write(messages: pl.DataFrame, folder: Path, name: str, origin: str) -> None:
    if messages.height and not (folder / name).exists():
        messages.write_parquet(folder / f".{name}", metadata={"origin": origin})
        (folder / f".{name}").rename(folder / name)
