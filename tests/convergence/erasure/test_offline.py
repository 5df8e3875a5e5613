"""The offline store in a real PostgreSQL loses the subject, and what is published again is without it."""

import polars as pl
import pytest

from convergence.erasure.offline import OfflineTables
from convergence.erasure.subjects import Subject
from convergence.errors import TableMissing
from convergence.features.offline import historical_features
from convergence.features.offline_postgres import PostgresOffline
from convergence.lake.tables import Lake
from convergence.services.postgres import PostgresServer
from tests.convergence.features.test_offline import asked, declared, fact, stored, write


def test_a_published_table_that_holds_the_subject_goes_and_can_be_published_again(
    lake: Lake, postgres: PostgresServer
) -> None:
    table, database = declared("erased/facts"), PostgresOffline(postgres.url)
    store = OfflineTables(postgres.url)
    subject = Subject("customer", "7590", {table.table: "customer", "erased/never_published": "customer"}, {})
    rows = stored([fact(1, 0), fact(2, 9)]).with_columns(customer=pl.Series([7590, 5575]))
    write(lake, rows, table=table.table)
    database.publish(lake, table)

    assert store.erase(subject, dry_run=True).entries == 1
    assert database.publish(lake, table) == {}
    assert store.erase(subject, dry_run=False).where == [table.table]
    with pytest.raises(TableMissing, match="convergence features publish"):
        historical_features(database, asked(), table.groups[1:2])

    write(lake, rows.head(1).with_columns(customer=pl.lit(5575, pl.Int64)), table=table.table)
    assert database.publish(lake, table) == {"2024-01-01": 1, "2024-01-02": 1}
    assert store.erase(subject, dry_run=False).entries == 0


def test_a_table_that_was_not_published_by_us_is_left_alone(postgres: PostgresServer) -> None:
    import psycopg2

    with psycopg2.connect(postgres.url) as connection, connection.cursor() as cursor:
        cursor.execute("create schema theirs")
        cursor.execute("create table theirs.facts as select 7590 as customer")

    told = OfflineTables(postgres.url).erase(
        Subject("customer", "7590", {"theirs/facts": "customer"}, {}), dry_run=False
    )

    assert told.entries == 0
    with psycopg2.connect(postgres.url) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from theirs.facts")
        assert cursor.fetchone() == (1,)
        cursor.execute("drop schema theirs cascade")
