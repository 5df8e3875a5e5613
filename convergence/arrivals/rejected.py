"""The rejected messages of a topic as a source: after a fix of contract or renames they are landed, each once.

A message that is rejected again waits under the next number, so that trying again asks for that one alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import polars as pl

from convergence.arrivals.codecs import CODECS, OFFSET, Messages
from convergence.arrivals.topics import Arrived, NextOffset, Span, Topic
from convergence.lake.tables import Lake


@dataclass(frozen=True)
class Rejected:
    """`<table>_rejected` of a lake."""

    lake: Lake
    name = "rejected messages"

    def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
        """Each former source with rejected messages that have not been tried again, from the first to the last."""
        return [span for span, _ in self._waiting(topic, landed)]

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        """All that wait, a former source at a time."""
        for span, waiting in self._waiting(topic, landed):
            yield [Arrived(span, partial(_decode, topic, waiting))]

    def _waiting(self, topic: Topic, landed: NextOffset) -> Iterator[tuple[Span, pl.DataFrame]]:
        table = f"{topic.table}_rejected"
        if self.lake.open(table) is None:
            return
        held = self.lake.scan(table).select("source", OFFSET, "row").sort("source", OFFSET).collect()
        for (source,), rows in held.partition_by("source", as_dict=True, maintain_order=True).items():
            application = again(str(source))
            start = landed(application) or 0
            waiting = rows.filter(pl.col(OFFSET) >= start)
            if waiting.height:
                yield Span(application, start, int(waiting[OFFSET][-1]) + 1, self.name), waiting


def again(source: str) -> str:
    """The application id under which the rejected messages of a source are tried again."""
    tried = re.match(r"again/(\d+)/(.*)", source, re.DOTALL)
    return f"again/{int(tried[1]) + 1}/{tried[2]}" if tried else f"again/1/{source}"


def _decode(topic: Topic, waiting: pl.DataFrame) -> Messages:
    values = [None if text is None else text.encode() for text in waiting["row"]]
    return CODECS[topic.codec](values, waiting[OFFSET], topic.columns)
