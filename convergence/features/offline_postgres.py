"""The offline store in PostgreSQL: feature tables published into it by day, and historical features read from it.

A table is published in one transaction, and only the days whose content hash is another than the published one: doing
it again changes nothing, and a reader sees all of a publication or nothing of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from convergence.errors import ConvergenceError, ServiceError, TableMissing
from convergence.features.groups import FeatureGroup, FeatureTable
from convergence.features.offline import refuse_missing
from convergence.features.views import MICROSECOND
from convergence.lake.files import DAY, WHOLE
from convergence.lake.in_postgres import copy, make_room, temporary
from convergence.lake.manifests import states
from convergence.lake.tables import Lake, rows_of

if TYPE_CHECKING:
    import psycopg2.extensions
    from psycopg2.sql import Composable, Identifier

_PUBLISHED = "convergence_published"


@dataclass(frozen=True)
class PostgresOffline:
    """Feature tables in the database at `url`, which holds a password: it is in no message and no representation."""

    url: str = field(repr=False)

    def publish(self, lake: Lake, table: FeatureTable) -> dict[str, int]:
        """Make the database's table the lake's newest version; days that changed and their row counts.

        Days that the lake no longer has are removed. Raises TableMissing, and ServiceError where the database cannot
        be reached.
        """
        from psycopg2 import sql

        handle = lake.open(table.table)
        if handle is None:
            raise TableMissing(f"{table.table} has never been written: materialize {table.table} first")
        refuse_missing(table.table, rows_of(handle).collect_schema(), table.columns)
        version = handle.version()
        there_now = states(lake, [table.table], {table.table: version})[table.table]
        wanted = {day: state.content_hash for day, state in there_now.items()}
        with self._transaction() as cursor:
            _create(cursor, table)
            cursor.execute(f"SELECT day, content_hash FROM {_PUBLISHED} WHERE name = %s", [table.table])
            there = dict(cursor.fetchall())
            changed = [day for day, digest in wanted.items() if there.get(day) != digest]
            name, rows = _name(table.table), {}
            for day in [*changed, *there.keys() - wanted.keys()]:
                where = sql.SQL("true") if day == WHOLE else sql.SQL("event_date = {}").format(sql.Literal(day))
                cursor.execute(sql.SQL("DELETE FROM {} WHERE {}").format(name, where))
                cursor.execute(f"DELETE FROM {_PUBLISHED} WHERE name = %s AND day = %s", [table.table, day])
            for day in changed:
                frame = rows_of(handle, None if day == WHOLE else [day]).select(list(table.columns)).collect()
                try:
                    copy(cursor, name, frame)
                except ConvergenceError as error:
                    told = f"{table.table} {day} cannot be published, so nothing was: {error}"
                    raise ConvergenceError(told) from None
                values = [table.table, day, wanted[day], version, frame.height]
                cursor.execute(f"INSERT INTO {_PUBLISHED} VALUES (%s, %s, %s, %s, %s)", values)
                rows[day] = frame.height
        return rows

    def lookup(self, asked: pl.DataFrame, group: FeatureGroup) -> pl.DataFrame:
        """As OfflineStore says. Raises TableMissing where the table was not published."""
        from psycopg2 import sql
        from psycopg2.errors import InvalidSchemaName, UndefinedTable

        rows, table = asked.with_row_index("asked_row"), sql.Identifier("asked")
        query = _as_of(group)
        with self._transaction() as cursor:
            temporary(cursor, table, rows)
            cursor.execute("ANALYZE asked")
            try:
                cursor.execute(query, {"max_age": group.max_age and group.max_age // MICROSECOND})
            except (UndefinedTable, InvalidSchemaName):
                told = f"{group.table} was never published: `convergence features publish {group.table}`"
                raise TableMissing(told) from None
            types = {name: group.columns[name] for name in group.features}
            return pl.DataFrame(cursor.fetchall(), schema=types, orient="row")

    def rows_with(self, table: str, column: str, values: Sequence[str]) -> int:
        """How many rows of a published table have one of these values, as text; 0 where there is no such column."""
        from psycopg2 import sql

        known = "SELECT 1 FROM information_schema.columns WHERE (table_schema, table_name, column_name) = (%s, %s, %s)"
        with self._transaction() as cursor:
            cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [_PUBLISHED])
            if cursor.fetchone() != (True,):
                return 0
            cursor.execute(f"{known} AND %s IN (SELECT name FROM {_PUBLISHED})", [*table.split("/"), column, table])
            if cursor.fetchone() is None:  # also a table of the same name that is not ours
                return 0
            count = sql.SQL("SELECT count(*) FROM {} WHERE {}::text = ANY(%s)")
            cursor.execute(count.format(_name(table), sql.Identifier(column)), [list(values)])
            (found,) = cursor.fetchall()
            return found[0]

    def withdraw(self, table: str) -> None:
        """Drop a published table, and what is known of its days; published again, it is there again."""
        from psycopg2 import sql

        with self._transaction() as cursor:
            cursor.execute(sql.SQL("DROP TABLE {}").format(_name(table)))
            cursor.execute(f"DELETE FROM {_PUBLISHED} WHERE name = %s", [table])

    @contextmanager
    def _transaction(self) -> "Iterator[psycopg2.extensions.cursor]":
        import psycopg2

        try:
            connection = psycopg2.connect(self.url, connect_timeout=10, options="-c timezone=UTC")
        except psycopg2.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ServiceError(f"PostgreSQL cannot be reached ({reason}): see CONVERGENCE_POSTGRES") from None
        try:
            with connection, connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()


def _create(cursor: "psycopg2.extensions.cursor", table: FeatureTable) -> None:
    """The schema, the table, its indexes, and the list of what is published, each where it is not there yet."""
    from psycopg2 import sql

    # one publisher at a time, also of those that create the list
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [_PUBLISHED])
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {_PUBLISHED} "
        "(name text, day text, content_hash text, version bigint, rows bigint, PRIMARY KEY (name, day))"
    )
    name, (use_case, _) = _name(table.table), table.table.split("/")
    cursor.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(use_case)))
    if make_room(cursor, name, table.columns):
        cursor.execute(f"DELETE FROM {_PUBLISHED} WHERE name = %s", [table.table])
    if DAY in table.columns:
        cursor.execute(_index(f"{table.view.name}_day", name, [sql.Identifier(DAY)]))
    for group in table.groups:
        last = [sql.SQL("{} DESC NULLS LAST").format(c) for c in map(sql.Identifier, _order(group))]
        cursor.execute(_index(f"{group.name}_as_of", name, [*map(sql.Identifier, group.entity), *last]))


def _as_of(group: FeatureGroup) -> "Composable":
    """For each row asked, the first of its entity's rows, newest first, that had happened and had arrived."""
    from psycopg2 import sql

    features = [sql.Identifier("found", feature) for feature in group.features]
    same = [
        sql.SQL("{} = {}").format(sql.Identifier("history", key), sql.Identifier("asked", key)) for key in group.entity
    ]
    young = "(extract(epoch FROM asked.asked_time) - extract(epoch FROM found.event_time)) * 1000000 <= %(max_age)s"
    return sql.SQL(
        """
        SELECT {features} FROM asked LEFT JOIN LATERAL (
            SELECT * FROM {table} AS history
            WHERE {same} AND history.event_time <= asked.asked_time AND history.arrived_at <= asked.known_by
            ORDER BY {order} LIMIT 1
        ) AS found ON {young} ORDER BY asked.asked_row
        """
    ).format(
        features=sql.SQL(", ").join(features),
        table=_name(group.table),
        same=sql.SQL(" AND ").join(same),
        order=sql.SQL(", ").join(
            sql.SQL("{} DESC NULLS LAST").format(sql.Identifier("history", name)) for name in _order(group)
        ),
        young=sql.SQL("true" if group.max_age is None else young),
    )


def _order(group: FeatureGroup) -> tuple[str, ...]:
    return ("event_time", group.sequence, "arrived_at")


def _name(table: str) -> "Identifier":
    from psycopg2 import sql

    return sql.Identifier(*table.split("/"))


def _index(name: str, table: "Identifier", columns: "Sequence[Composable]") -> "Composable":
    from psycopg2 import sql

    parts = {"name": sql.Identifier(name[-63:]), "table": table, "columns": sql.SQL(", ").join(columns)}
    return sql.SQL("CREATE INDEX IF NOT EXISTS {name} ON {table} ({columns})").format(**parts)
