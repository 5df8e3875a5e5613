"""DuckDB as the warehouse: one file, which one process at a time may have open.

So nobody keeps it open. dbt runs in a process of its own, between two sessions; Dagster admits one step at a time to
the pool of the warehouse. A lake in a folder is read where it lies, through views over the files of one version.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from arro3.core import Table as ArrowTable
from deltalake import DeltaTable

from convergence.errors import ServiceError
from convergence.lake.in_duckdb import as_query
from convergence.lake.local_table import LocalTable
from convergence.warehouse.warehouse import Session, Warehouse, relation


@dataclass(frozen=True)
class DuckDB(Warehouse):
    """The file, and what opens a connection to it."""

    file: Path
    connect: Callable[[], AbstractContextManager[Any]]
    name = "DuckDB"
    target = "duckdb"

    @property
    def environment(self) -> Mapping[str, str]:
        """The file's path."""
        return {"CONVERGENCE_WAREHOUSE_FILE": str(self.file)}

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection in one transaction. Raises ServiceError while another program has the file open."""
        import duckdb

        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            duckdb.connect(self.file).close()  # says at once what dagster-duckdb would try for minutes
            with self.connect() as connection:
                try:
                    connection.execute("set TimeZone = 'UTC'")
                    connection.begin()
                    yield _Session(connection)
                    connection.commit()
                finally:
                    connection.close()  # which dagster-duckdb leaves undone after an error: the file would stay locked
        except duckdb.IOException as error:
            raise ServiceError(
                f"the warehouse {self.file.name} is open in another program, and DuckDB admits one: close it "
                "there, then materialize again"
            ) from error

    def offer(self, table: str, handle: DeltaTable, rows: pl.LazyFrame, days: Sequence[str]) -> None:
        """A view over the table's files; where they are in an object store, a copy of all rows read."""
        schema, name = relation(table)
        with self.session() as session:
            assert isinstance(session, _Session)
            session.execute(f"create schema if not exists {schema}")
            kinds = session.frame("select table_type from information_schema.tables where table_schema = ? and "
                                  "table_name = ?", (schema, name))  # fmt: skip
            for kind in kinds["table_type"]:  # neither replaces the other
                session.execute(f"drop {'view' if kind == 'VIEW' else 'table'} {schema}.{name}")
            if isinstance(handle, LocalTable):
                session.execute(f"create view {schema}.{name} as {as_query(session.connection, handle)}")
                return
            import tempfile

            with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
                rows.sink_parquet(copy.name)
                session.execute(f"create table {schema}.{name} as select * from read_parquet('{copy.name}')")

    def empty(self) -> None:
        """Remove the file, once nobody has it open."""
        with self.session():
            pass
        self.file.unlink()
        self.file.with_name(f"{self.file.name}.wal").unlink(missing_ok=True)


@dataclass(frozen=True)
class _Session:
    connection: Any

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        self.connection.execute(sql, parameters)

    def frame(self, sql: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
        return pl.DataFrame(ArrowTable.from_arrow(self.connection.sql(sql, params=list(parameters))))
