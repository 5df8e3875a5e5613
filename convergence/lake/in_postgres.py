"""Rows of a lake table as PostgreSQL holds them: types, a table of exactly these columns, and rows copied into it."""

from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any

import polars as pl

from convergence.errors import ConvergenceError

if TYPE_CHECKING:
    import psycopg2.extensions
    from psycopg2.sql import Composable, Identifier

_TYPES = {
    pl.Int8: "smallint",
    pl.Int16: "smallint",
    pl.Int32: "integer",
    pl.UInt32: "bigint",  # row numbers; the lake has none
    pl.Int64: "bigint",
    pl.Float32: "real",
    pl.Float64: "double precision",
    pl.Decimal: "numeric",
    pl.Boolean: "boolean",
    pl.String: "text",
    pl.Date: "date",
    pl.Datetime: "timestamp with time zone",
}
_FETCHED: dict[int, Any] = {  # by PostgreSQL's numbers of types: what Python's values do not tell, or nulls alone
    16: pl.Boolean,
    20: pl.Int64,
    21: pl.Int16,
    23: pl.Int32,
    25: pl.String,
    700: pl.Float32,
    701: pl.Float64,
    1082: pl.Date,
    1184: pl.Datetime("us", "UTC"),
}
_SORTED = {"text": ' COLLATE "C"'}  # in the order of Polars and DuckDB, whatever the database's is


def columns_of(schema: Mapping[str, pl.DataType]) -> dict[str, str]:
    """The type of each column. Raises ConvergenceError for one that PostgreSQL would not give back as it was."""
    for name, kind in schema.items():
        if kind.base_type() not in _TYPES:
            raise ConvergenceError(f"column {name!r} is {kind}, for which PostgreSQL has no equal here: keep it out")
    return {name: _TYPES[kind.base_type()] for name, kind in schema.items()}


def make_room(cursor: "psycopg2.extensions.cursor", table: "Identifier", schema: Mapping[str, pl.DataType]) -> bool:
    """Have a table of these columns. True: there was one, and with other columns than these, so it was made anew.

    A column may only appear. One that has another type now, or is gone, was of rows from before a rebuild: then
    nothing of the table can stay, nor of the views over it.
    """
    from psycopg2 import sql

    wanted = columns_of(schema)
    cursor.execute(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute "
        "WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped",
        [table.as_string(cursor)],
    )
    there = dict(cursor.fetchall())
    if outdated := not there.items() <= wanted.items():
        cursor.execute(sql.SQL("DROP TABLE {} CASCADE").format(table))
    cursor.execute(sql.SQL("CREATE TABLE IF NOT EXISTS {} ()").format(table))
    for name in wanted if outdated else wanted.keys() - there.keys():
        add = sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(table, _defined(name, wanted[name]))
        cursor.execute(add)
    return outdated


def temporary(cursor: "psycopg2.extensions.cursor", table: "Identifier", frame: pl.DataFrame) -> None:
    """A table of these rows for as long as the transaction lasts."""
    from psycopg2 import sql

    columns = sql.SQL(", ").join(_defined(*column) for column in columns_of(frame.schema).items())
    cursor.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(table, columns))
    copy(cursor, table, frame)


def copy(cursor: "psycopg2.extensions.cursor", table: "Identifier", frame: pl.DataFrame) -> None:
    """Load rows by COPY; nulls are empty, and empty texts are quoted.

    Raises ConvergenceError where PostgreSQL refuses a value, without the value.
    """
    from psycopg2 import DataError, sql

    rows: Any = BytesIO()
    frame.write_csv(rows, include_header=False, datetime_format="%Y-%m-%dT%H:%M:%S%.6f+00")
    rows.seek(0)
    columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    command = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(table, columns)
    try:
        cursor.copy_expert(command, rows)
    except (DataError, ValueError) as error:
        raise ConvergenceError(f"PostgreSQL takes no NUL in a text ({type(error).__name__})") from None


def fetched(cursor: "psycopg2.extensions.cursor") -> pl.DataFrame:
    """The rows of a query, in the types that they have in the database."""
    assert cursor.description is not None
    schema = {column.name: _FETCHED.get(column.type_code) for column in cursor.description}
    return pl.DataFrame(cursor.fetchall(), schema, orient="row")


def _defined(name: str, kind: str) -> "Composable":
    from psycopg2 import sql

    return sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind + _SORTED.get(kind, "")))
