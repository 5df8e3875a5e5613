"""The rejected messages of a topic as a source: after a fix of contract or renames they are landed, each once.

A message that is rejected again waits under the next number, so that trying again asks for that one alone.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import cast

import polars as pl

from convergence.arrivals.acceptance import REJECTED
from convergence.arrivals.codecs import BROKEN, CODECS, OFFSET, Messages
from convergence.arrivals.evidence import text_of
from convergence.arrivals.repeated_keys import repeated_keys
from convergence.arrivals.topics import BROKER_TIME, SCHEMA_VERSION, Arrived, NextOffset, Span, Topic, with_beside
from convergence.lake.tables import Lake


@dataclass(frozen=True)
class Rejected:
    """`<table>_rejected` of a lake."""

    lake: Lake
    name = "rejected messages"

    def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
        """Each former source with rejected messages that have not been tried again, from the first to the last."""
        return [span for span, _ in self._spans(topic, landed)]

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        """All that wait, a former source at a time."""
        for span, waiting in self._spans(topic, landed):
            yield [Arrived(span, partial(_decode, topic, waiting))]

    def waiting(self, topic: Topic, landed: NextOffset) -> pl.DataFrame:
        """The messages that have not been tried again, with the columns of REJECTED, by source and offset.

        Those tried without success wait as messages of their last trial.
        """
        table = f"{topic.table}_rejected"
        if self.lake.open(table) is None:
            return pl.DataFrame(schema=REJECTED)
        held = pl.concat([pl.LazyFrame(schema=REJECTED), self.lake.scan(table)], how="diagonal").collect()
        sources = held["source"].unique().to_list()
        tried = pl.DataFrame(
            {"source": sources, "tried": [landed(again(source)) or 0 for source in sources]},
            schema={"source": pl.String, "tried": pl.Int64},
        )
        waits = held.join(tried, on="source").filter(pl.col(OFFSET) >= pl.col("tried"))
        return waits.select(REJECTED.names()).sort("source", OFFSET)

    def _spans(self, topic: Topic, landed: NextOffset) -> Iterator[tuple[Span, pl.DataFrame]]:
        waiting = self.waiting(topic, landed)
        for (source,), rows in waiting.partition_by("source", as_dict=True, maintain_order=True).items():
            application = again(str(source))
            yield Span(application, landed(application) or 0, int(rows[OFFSET][-1]) + 1, self.name), rows


def is_again(application: str) -> bool:
    """Whether an application id is that of messages tried again."""
    return application.startswith("again/")


def again(source: str) -> str:
    """The application id under which the rejected messages of a source are tried again."""
    tried = re.match(r"again/(\d+)/(.*)", source, re.DOTALL)
    return f"again/{int(tried[1]) + 1}/{tried[2]}" if tried else f"again/1/{source}"


def _decode(topic: Topic, waiting: pl.DataFrame) -> Messages:
    values = [None if text is None else text.encode() for text in waiting["row"]]
    said = waiting.select(OFFSET, SCHEMA_VERSION, pl.col("broker_time").alias(BROKER_TIME))
    return with_beside(_each_key_once(CODECS[topic.codec](values, waiting[OFFSET], topic.columns), topic), said)


def _each_key_once(messages: Messages, topic: Topic) -> Messages:
    """The messages; one in which a key stands twice waits on, whichever other reason it has waited for."""
    raw = cast("Sequence[bytes]", messages.raw)
    keys = repeated_keys(b"\n".join(raw), raw, messages.rows, topic.columns)
    if not keys:
        return messages
    once = pl.Series([at not in keys for at in range(len(raw))], dtype=pl.Boolean)
    told = [
        (messages.rows[OFFSET][at], f"the key {key} stands in it twice", text_of(raw[at])) for at, key in keys.items()
    ]
    broken = pl.concat([messages.broken, pl.DataFrame(told, BROKEN, orient="row")]).sort(OFFSET)
    return Messages(messages.rows.filter(once), broken, list(compress(raw, once)))
