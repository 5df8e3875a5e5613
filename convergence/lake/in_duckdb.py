"""A lake table as DuckDB reads it: the columns that the table has, whichever of them each of its files holds."""

from collections.abc import Sequence
from typing import Any

import polars as pl
import polars.selectors as cs
from deltalake import DeltaTable

from convergence.lake.files import DAY
from convergence.lake.tables import rows_of


class Stream:
    """A frame as DuckDB takes it without pyarrow: as a stream of Arrow's."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def as_query(connection: Any, handle: DeltaTable, place: Sequence[str] = ()) -> str:
    """A query for all rows of a table in a folder, at the handle's version: its columns, in its order and types.

    Files of one table differ in their columns; what a file does not hold is null. `place`: DuckDB's own columns that
    say where a row lies, to select too.
    """
    empty = rows_of(handle).head(0).collect().with_columns(cs.categorical().cast(pl.String))
    connection.register("columns_of_the_table", Stream(empty))
    types = _described(connection, "columns_of_the_table") | dict.fromkeys(place, "varchar")
    connection.unregister("columns_of_the_table")
    if not (files := handle.file_uris()):
        return f"select {', '.join(_null(*column) for column in types.items())} where false"
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    days = f", hive_types = {{'{DAY}': date}}" if DAY in types else ""
    source = f"read_parquet([{listed}], union_by_name = true, hive_partitioning = {bool(days)}{days})"
    there = {*_described(connection, source), *place}
    columns = [quoted(name) if name in there else _null(name, kind) for name, kind in types.items()]
    return f"select {', '.join(columns)} from {source}"


def quoted(name: str) -> str:
    """A column's name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _described(connection: Any, source: str) -> dict[str, str]:
    """The columns of what stands behind FROM, and their types."""
    return dict(connection.sql(f"select column_name, column_type from (describe select * from {source})").fetchall())


def _null(name: str, kind: str) -> str:
    return f"cast(null as {kind}) as {quoted(name)}"
