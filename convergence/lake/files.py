"""What goes into a data file: columns that read back as they were written, one partition, statistics to skip it by."""

import json
from datetime import date, datetime
from typing import Any

import polars as pl
from arro3.core import Table as ArrowTable
from deltalake import Schema

from convergence.errors import InvalidName, LakeError, SchemaConflict

DAY = "event_date"  # the partition column of every dated table
WHOLE = ""  # the one partition of a table without dates

_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64)
_STORABLE = (*_INTEGERS, pl.Float32, pl.Float64, pl.Decimal, pl.Boolean, pl.String, pl.Binary, pl.Categorical, pl.Date)


def delta_schema(table: str, frame: pl.DataFrame) -> Schema:
    """The columns of a frame as Delta holds them. Raises SchemaConflict for a type that Delta would not give back."""
    for name, kind in frame.schema.items():
        if kind == pl.Null:
            raise SchemaConflict(f"{table}.{name} has no type: cast it, even where every value is null")
        if not _storable(kind):
            raise SchemaConflict(
                f"{table}.{name} is {kind}, which a Delta table does not give back unchanged. Cast it in the asset: "
                "unsigned to Int64, Enum to String, Array to List, a time to Datetime('us', 'UTC')."
            )
        if "\0" in name:
            raise SchemaConflict(f"{table}: column {name!r} holds a NUL character; rename it")
    if len({name.lower() for name in frame.columns}) < frame.width:
        raise SchemaConflict(
            f"{table}: two columns differ in case only, and Delta does not tell them apart; rename one"
        )
    return Schema.from_arrow(ArrowTable.from_arrow(frame.head(0)).schema)


def merged(table: str, known: Schema, schema: Schema) -> Schema:
    """The table's columns and then the new ones; a column may appear, it may not change its type."""
    columns = {f.name.lower(): f for f in known.fields}
    for column in schema.fields:
        there = columns.setdefault(column.name.lower(), column)
        if there.name != column.name:
            raise SchemaConflict(
                f"{table}.{column.name}: there is a column {there.name}, and Delta does not tell them apart; rename one"
            )
        if there.type != column.type:
            raise SchemaConflict(
                f"{table}.{column.name}: the table has {there.type}, the new "
                f"rows {column.type}. Cast it in the asset, give the column a new name, or make the tables anew: "
                f"`convergence replay --from-beginning {table.partition('/')[0]}`"
            )
    return Schema(list(columns.values()))


def partition_values(table: str, key: str, frame: pl.DataFrame) -> dict[str, str]:
    """The partition column of a file, empty for a table without dates. Raises if the key or a row is out of place."""
    if key == WHOLE:
        return {}
    try:
        day = date.fromisoformat(key)
    except ValueError:
        day = None
    if day is None or key != day.isoformat():
        raise InvalidName(f"{table}: partition {key[:40]!r} is not a date like 2018-08-01")
    if frame.schema.get(DAY) != pl.Date:
        raise LakeError(f"{table} {key}: the rows have no column {DAY} of type Date; nothing was written")
    strangers = frame.filter(pl.col(DAY).ne_missing(day)).height
    if strangers:
        raise LakeError(f"{table} {key}: {strangers} of {frame.height} rows have another {DAY}; nothing was written")
    return {DAY: key}


def by_day(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """A frame cut into the days of its `event_date`, in order."""
    if frame[DAY].is_sorted():  # as rows mostly are: then a day is a slice
        runs = frame[DAY].rle().struct.unnest()
        starts = runs["len"].cum_sum() - runs["len"]
        return {str(day): frame.slice(start, rows) for start, rows, day in zip(starts, *runs, strict=True)}
    parts = frame.partition_by(DAY, as_dict=True, maintain_order=True)
    return {str(day): part for (day,), part in sorted(parts.items())}


def statistics(frame: pl.DataFrame) -> str:
    """Delta's file statistics, by which a reader skips files: of times alone, for the log never forgets what is in it.

    A number or a text may name a person, and the smallest or largest of them would outlive the person's rows.
    """
    columns = [n for n, d in frame.schema.items() if d == pl.Datetime("us", "UTC")]
    stats: dict[str, Any] = {"numRecords": frame.height}
    for name, extreme in (("minValues", pl.Expr.min), ("maxValues", pl.Expr.max)):
        row = frame.select(extreme(pl.col(columns))).row(0, named=True) if columns else {}
        stats[name] = {c: _plain(v) for c, v in row.items() if v is not None}
    return json.dumps(stats)


def _plain(value: datetime) -> str:
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _storable(kind: pl.DataType) -> bool:
    if isinstance(kind, pl.List):
        return _storable(kind.inner)  # pyright: ignore[reportArgumentType]
    if isinstance(kind, pl.Struct):
        return all(_storable(f.dtype) for f in kind.fields)  # pyright: ignore[reportArgumentType]
    if isinstance(kind, pl.Datetime):
        return kind.time_unit != "ns" and kind.time_zone == "UTC"
    return isinstance(kind, _STORABLE)
