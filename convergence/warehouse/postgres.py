"""PostgreSQL as the warehouse: the days that a run reads are copied into it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import polars as pl
from deltalake import DeltaTable

from convergence.errors import ConvergenceError, ServiceError
from convergence.lake.in_postgres import copy, fetched, make_room
from convergence.lake.tables import DAY
from convergence.warehouse.warehouse import MARTS, Session, Warehouse, relation


@dataclass(frozen=True, repr=False)
class PostgreSQL(Warehouse):
    """A server by URL: postgresql://user:password@host:port/database."""

    url: str
    name = "PostgreSQL"
    target = "postgres"

    @property
    def environment(self) -> Mapping[str, str]:
        """Host, port, user, database and password."""
        at = urlsplit(self.url)
        return {
            "CONVERGENCE_WAREHOUSE_HOST": at.hostname or "",
            "CONVERGENCE_WAREHOUSE_PORT": str(at.port or 5432),
            "CONVERGENCE_WAREHOUSE_USER": unquote(at.username or ""),
            "CONVERGENCE_WAREHOUSE_NAME": at.path.lstrip("/"),
            "DBT_ENV_SECRET_WAREHOUSE_PASSWORD": unquote(at.password or ""),
        }

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection in one transaction. Raises ServiceError where the server does not let us in."""
        import psycopg2

        try:
            connection = psycopg2.connect(self.url, connect_timeout=10, options="-c timezone=UTC")
        except psycopg2.OperationalError as error:
            at = urlsplit(self.url)
            raise ServiceError(
                f"PostgreSQL at {at.hostname}:{at.port or 5432} does not let us in: start it with `convergence "
                "services up postgres`, or correct CONVERGENCE_POSTGRES"
            ) from error
        try:
            with connection:  # commits
                yield _Session(connection)
        finally:
            connection.close()

    def offer(self, table: str, handle: DeltaTable, rows: pl.LazyFrame, days: Sequence[str]) -> None:
        """Replace these days of the copy by those of `rows`."""
        from psycopg2.sql import Identifier

        schema, name = relation(table)
        copied = rows.collect()
        with self.session() as session:
            assert isinstance(session, _Session)
            session.execute(f"create schema if not exists {schema}")
            with session.connection.cursor() as cursor:
                make_room(cursor, Identifier(schema, name), copied.schema)
                cursor.execute(f"delete from {schema}.{name} where {DAY} between %s and %s", (min(days), max(days)))
                try:
                    copy(cursor, Identifier(schema, name), copied)
                except ConvergenceError as error:
                    raise ConvergenceError(f"{table} cannot be copied to {self.name}: {error}") from None

    def empty(self) -> None:
        """Drop the schemas of lake tables and models."""
        with self.session() as session:
            mine = "schema_name = ? or schema_name like 'lake\\_%%'"
            for (schema,) in session.frame(
                f"select schema_name from information_schema.schemata where {mine}", (MARTS,)
            ).iter_rows():
                session.execute(f'drop schema "{schema}" cascade')


@dataclass(frozen=True)
class _Session:
    connection: Any

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), tuple(parameters))

    def frame(self, sql: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
        with self.connection.cursor() as cursor:
            cursor.execute(sql.replace("?", "%s"), tuple(parameters))
            return fetched(cursor)
