"""A dataset as of this moment: what the batch has made, united with what has arrived since (the Lambda view).

A partition that the batch made from all that has arrived is read; any other is derived once more, from the landed
rows and from messages that have not even landed. So the answer is that of a full recomputation at any moment.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import polars as pl

from convergence.arrivals.acceptance import sort_out
from convergence.arrivals.lander import BATCH_ROWS, Lander, read_ahead
from convergence.arrivals.topics import Source, Topic
from convergence.lake.manifests import Provenance, inputs_digest, states
from convergence.lake.tables import Lake, by_day, rows_of

Derive = Callable[[pl.LazyFrame], pl.LazyFrame]


@dataclass(frozen=True)
class United:
    """The rows, and how much of them came from where."""

    rows: pl.DataFrame
    from_batch: Sequence[str]  # partitions as the batch made them
    derived: Sequence[str]  # partitions derived for this answer
    unlanded: int  # messages that were read from their source


def united(
    lake: Lake, topic: Topic, sources: Iterable[Source], table: str, derive: Derive, days: Sequence[str]
) -> United:
    """The rows of `table` on these days, `derive` being what makes it from the same days of the raw table.

    Everything is read as of one version of each table. Raises BrokerUnreachable, ArrivalError as landing does.
    """
    lander = Lander(lake, topic, Provenance("view", ""))
    raw, batch = lake.open(topic.table), lake.open(table)

    def landed_then(application: str) -> int | None:  # as of the very version whose rows are read
        return raw.transaction_version(application) if raw else None

    arrived, unlanded = [], 0
    for source in sources:
        lander.refuse_loss(source.offered(topic, landed_then))
        for part in read_ahead(source.batches(topic, landed_then, BATCH_ROWS)):
            unlanded += sum(a.span.end - a.span.start for a in part)
            arrived.append(sort_out(topic, {a.span.application: a.decode() for a in part}).accepted)
    versions = {name: handle.version() for name, handle in ((topic.table, raw), (table, batch)) if handle}
    held = states(lake, list(versions), versions)
    landed, made = held.get(topic.table, {}), held.get(table, {})
    new = pl.concat(arrived) if arrived else None
    touched = set(by_day(new)) if new is not None else set()
    wanted = [day for day in days if day in landed or day in touched]
    cut = {d: inputs_digest({topic.table: {d: landed[d].content_hash}}) for d in wanted if d in landed}
    fresh = [d for d in wanted if d not in touched and d in made and made[d].inputs == cut[d]]
    others = [d for d in wanted if d not in fresh]
    parts: list[pl.LazyFrame] = []
    if batch and fresh:
        parts.append(rows_of(batch, fresh))
    if others:
        pieces = [rows_of(raw, others)] if raw else []
        if new is not None:
            pieces.append(new.lazy().filter(pl.col("event_date").cast(pl.String).is_in(others)))
        parts.append(derive(pl.concat(pieces, how="diagonal")))
    rows = pl.concat(parts, how="diagonal").collect() if parts else pl.DataFrame()
    return United(rows, fresh, others, unlanded)
