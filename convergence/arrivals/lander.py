"""Messages into the lake exactly once: the rows and the offsets they came from are one commit.

Delta accepts a repeated transaction, so the lander reads the last offset, checks that the span starts there, and
commits with that very handle: delta-rs refuses the commit if anyone has moved the offset meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import polars as pl
from deltalake import DeltaTable
from pandera.errors import SchemaErrors

from convergence.arrivals.codecs import BROKEN, OFFSET, Messages, within_calendar
from convergence.arrivals.topics import Span, Topic
from convergence.errors import ArrivalError, ConcurrentWrite
from convergence.lake.contracts import reasons, schema_of
from convergence.lake.manifests import Provenance, build_manifest, record
from convergence.lake.tables import DAY, WHOLE, Lake, by_day

BATCH_ROWS = 250_000

_ADDED = {DAY: pl.Date(), "source": pl.String(), OFFSET: pl.Int64()}


class Source(Protocol):
    """Where messages come from: a drop folder, a broker."""

    def spans(self, topic: str, landed: Callable[[str], int | None]) -> Iterator[Span]:
        """The messages beyond what has landed; `landed` gives the next offset of a partition, None if it is new."""
        ...

    def read(self, span: Span) -> Messages:
        """The messages of one span."""
        ...


@dataclass(frozen=True)
class Sorted:
    """Messages of a batch as rows: accepted, late (the contract's columns), rejected (source, offset, reason, row)."""

    accepted: pl.DataFrame
    late: pl.DataFrame
    rejected: pl.DataFrame


@dataclass
class Landed:
    """What one landing did."""

    messages: int = 0
    accepted: int = 0
    late: int = 0
    rejected: int = 0
    commits: int = 0

    days: frozenset[str] = frozenset()  # event dates of the accepted rows


def land(lake: Lake, topic: Topic, source: Source, provenance: Provenance, batch_rows: int = BATCH_ROWS) -> Landed:
    """Land everything that the source has and the lake has not, in commits of about `batch_rows`.

    Rejected and late rows go to `<table>_rejected` and `<table>_late` first, so that a crash between the commits
    repeats only what is missing. Raises ArrivalError where messages between the landed and the offered are gone.
    """
    handle = lake.open(topic.table)
    landed = Landed()
    for spans in _batches(
        source.spans(topic.name, handle.transaction_version if handle else lambda _: None), batch_rows
    ):
        _refuse_gap(topic.table, lake.open(topic.table), spans)
        batch = sort_out(topic, {span.application: source.read(span) for span in spans})
        origins = sorted({span.origin for span in spans})
        made = Provenance(provenance.run_id, provenance.code_version, provenance.revision, provenance.config, origins)
        if batch.rejected.height:
            _land(lake, f"{topic.table}_rejected", batch.rejected, spans, made, dated=False)
        if batch.late.height:
            _land(lake, f"{topic.table}_late", batch.late, spans, made, dated=True)
        if _land(lake, topic.table, batch.accepted, spans, made, dated=True):
            landed.messages += sum(span.end - span.start for span in spans)
            landed.accepted += batch.accepted.height
            landed.late += batch.late.height
            landed.rejected += batch.rejected.height
            landed.commits += 1
            landed.days |= set(by_day(batch.accepted))
    return landed


def sort_out(topic: Topic, messages: Mapping[str, Messages]) -> Sorted:
    """Judge messages (by application id) one by one: what keeps the contract, what is late, what is neither."""
    schema = schema_of(topic.contract)
    sorted_out = [_sort_out(topic, schema, application, m) for application, m in messages.items()]
    return Sorted(*(pl.concat(parts) for parts in zip(*sorted_out, strict=True)))


def _sort_out(
    topic: Topic, schema: pl.Schema, application: str, messages: Messages
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    original = messages.rows.drop(OFFSET)
    renames = {k: v for k, v in topic.renames.items() if k in original.columns}
    rows = messages.rows.drop(set(renames.values()) - set(renames), strict=False).rename(renames)
    rows = rows.with_columns(source=pl.lit(application))
    carried = [name for name in schema if name not in (*_ADDED, "arrived_at")]
    absent = [name for name in carried if name not in rows.columns]
    unsaid = [name for name in (*absent, "arrived_at") if name not in rows.columns]
    rows = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in unsaid)
    typed = rows.with_columns(_cast(rows, n, schema[n]).alias(n) for n in [*carried, "arrived_at"])
    assumed = pl.when(rows["arrived_at"].is_null()).then(pl.col("event_time") + topic.assumed_lateness)
    typed = typed.with_columns(
        assumed.otherwise("arrived_at").alias("arrived_at"), pl.col("event_time").dt.date().alias(DAY)
    ).select(schema.names())

    columns = topic.contract.to_schema().columns
    problems = [pl.lit(f"no column {name}") for name in absent if not columns[name].nullable]
    problems += [
        pl.when(rows[n].is_not_null() & typed[n].is_null()).then(pl.lit(f"{n}: not a {schema[n]}"))
        for n in [*carried, "arrived_at"]
        if n not in absent
    ]
    problems.append(
        pl.when(~pl.col(DAY).is_between(topic.first_day, topic.last_day)).then(
            pl.lit(f"outside_partitions: {topic.first_day} to {topic.last_day}")
        )
    )
    problems.append(pl.lit(_broken_rules(topic, typed)))
    reason = typed.select(pl.concat_str(problems, separator="; ", ignore_nulls=True).alias("reason"))["reason"]
    bad = reason.fill_null("") != ""
    found = original.filter(bad)
    text = found.select(pl.struct(pl.all()).struct.json_encode()).to_series() if found.width else None
    rejected = pl.DataFrame(
        {OFFSET: typed[OFFSET].filter(bad), "reason": reason.filter(bad), "row": text}, schema=BROKEN
    )
    is_late = (pl.col("arrived_at") - pl.col("event_time") > topic.late_after).alias("late")
    good = typed.filter(~bad)
    both = pl.concat([rejected, messages.broken]).select(pl.lit(application).alias("source"), *BROKEN)
    return good.filter(~is_late), good.filter(is_late), both.sort(OFFSET)


def _cast(rows: pl.DataFrame, name: str, kind: pl.DataType) -> pl.Expr:
    """The column as `kind`; null where the value cannot be told exactly."""
    column, there = pl.col(name), rows.schema[name]
    if isinstance(kind, pl.Datetime):
        if there == pl.String:
            return within_calendar(_time(column), kind)
        if isinstance(there, pl.Datetime):
            utc = column.dt.convert_time_zone("UTC") if there.time_zone else column.dt.replace_time_zone("UTC")
            return within_calendar(utc.dt.cast_time_unit("us"), kind)
    if kind == pl.Boolean and there == pl.String:
        return column.str.to_lowercase().replace_strict(
            {"true": True, "1": True, "false": False, "0": False}, default=None
        )
    if kind == pl.Boolean and there.is_numeric():
        return pl.when(column.is_in([0, 1])).then(column == 1)
    if kind.is_integer() and there.is_float():
        return pl.when(column == column.floor()).then(column).cast(kind, strict=False)
    return column.cast(kind, strict=False)


def _time(text: pl.Expr) -> pl.Expr:
    """ISO 8601 as UTC: a date, or a date and time, with or without seconds, fraction and offset, row by row."""
    text = text.str.strip_chars().str.replace(" ", "T", literal=True).str.replace("Z$", "+00:00")
    zoned = pl.when(text.str.contains(r"[+-]\d\d:?\d\d$")).then(text).otherwise(text + "+00:00")
    formats = ("%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M%z")
    times = [zoned.str.to_datetime(f, time_unit="us", time_zone="UTC", strict=False) for f in formats]
    return pl.coalesce(*times, text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us", "UTC")))


def _broken_rules(topic: Topic, typed: pl.DataFrame) -> pl.Series:
    """The contract rules that each row breaks, in words; null where it keeps them all."""
    try:
        topic.contract.validate(typed, lazy=True)
    except SchemaErrors as error:
        by_row = (
            reasons(error).drop_nulls("index").group_by("index").agg(pl.col("reason").unique().sort().str.join("; "))
        )
        numbered = typed.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias("index"))
        return numbered.join(by_row, on="index", how="left", maintain_order="left")["reason"]
    return pl.Series("reason", [None] * typed.height, dtype=pl.String)


def _refuse_gap(table: str, handle: DeltaTable | None, spans: Sequence[Span]) -> None:
    """Before anything of a batch is written: what landed only ever grows, so a gap cannot open afterwards."""
    for span in spans:
        last = handle.transaction_version(span.application) if handle else None
        if last is not None and last < span.start:
            raise ArrivalError(
                f"{table}: {span.application} landed up to offset {last}, the source starts at {span.start}: "
                f"{span.start - last} messages are gone. Restore them, or land a new topic to accept the loss."
            )


def _land(lake: Lake, table: str, rows: pl.DataFrame, spans: Sequence[Span], made: Provenance, *, dated: bool) -> bool:
    """Append the rows above each partition's landed offset; False if all of them are there already."""
    while True:
        base = lake.open(table)
        landed = {s.application: base.transaction_version(s.application) if base else None for s in spans}
        todo = [s for s in spans if (at := landed[s.application]) is None or at < s.end]
        if not todo:
            return False
        new = rows.join(
            pl.DataFrame({"source": [s.application for s in todo], "next": [landed[s.application] or 0 for s in todo]}),
            on="source",
        )
        new = new.filter(pl.col(OFFSET) >= pl.col("next")).drop("next")
        manifest = build_manifest(by_day(new) if dated else {WHOLE: new}, "append", made)
        manifest["offsets"] = {s.application: [landed[s.application] or s.start, s.end] for s in todo}
        try:
            lake.append(table, new, manifest, {s.application: s.end for s in todo}, base, dated=dated)
        except ConcurrentWrite:
            continue  # another lander was faster: look again at what is left
        record(lake, [table])
        return True


def _batches(spans: Iterator[Span], rows: int) -> Iterator[list[Span]]:
    batch: list[Span] = []
    for span in spans:
        if any(other.application == span.application for other in batch):  # one range of a partition per commit
            yield batch
            batch = []
        batch.append(span)
        if sum(s.end - s.start for s in batch) >= rows:
            yield batch
            batch = []
    if batch:
        yield batch
