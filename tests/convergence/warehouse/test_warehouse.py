"""One suite for both warehouses: what is offered, what is on record of what was built, and what is refused."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from dagster_duckdb import DuckDBResource
from deltalake import DeltaTable

from convergence.errors import LakeError, ServiceError
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.services.postgres import PostgresServer
from convergence.warehouse.duckdb import DuckDB
from convergence.warehouse.postgres import PostgreSQL
from convergence.warehouse.warehouse import Warehouse

DAYS = ["2024-01-01", "2024-01-02"]
ROWS = pl.DataFrame(
    {
        "event_date": [date(2024, 1, 1), date(2024, 1, 2)],
        "event_time": [datetime(2024, 1, 1, 7, tzinfo=UTC), datetime(2024, 1, 2, 7, 0, 0, 1, tzinfo=UTC)],
        "customerID": ['a "quoted", one', ""],
        "Charges": [0.1, None],
        "senior": [True, False],
        "tenure": [2**40, 0],
    },
    schema_overrides={"event_time": pl.Datetime("us", "UTC")},
)


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Warehouse]:
    if request.param == "duckdb":
        yield duckdb_at(tmp_path / "warehouse" / "warehouse.duckdb")
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    there = PostgreSQL(server.url)
    yield there
    with there.session() as session:
        session.execute("drop schema if exists marts cascade")
        session.execute("drop schema if exists lake_world cascade")


def duckdb_at(file: Path) -> DuckDB:
    return DuckDB(file, DuckDBResource(database=str(file)).get_connection)


def offered(warehouse: Warehouse, lake: Lake, rows: pl.DataFrame = ROWS) -> None:
    parts = {str(day): part for (day,), part in rows.partition_by("event_date", as_dict=True).items()}
    lake.replace(
        "world/people", parts, build_manifest(parts, "replace", Provenance("run", "1")), lake.open("world/people")
    )
    handle = lake.open("world/people")
    assert handle
    warehouse.offer("world/people", handle, lake.scan("world/people", list(parts)), list(parts))


def people(warehouse: Warehouse) -> pl.DataFrame:
    with warehouse.session() as session:
        return session.frame("select * from lake_world.people").select(ROWS.columns).sort("event_date")


def build(warehouse: Warehouse) -> None:
    with warehouse.session() as session:
        session.execute("create schema if not exists marts")
        session.execute("create table marts.mart as select * from lake_world.people")


def test_a_lake_table_is_offered_as_it_is(warehouse: Warehouse, lake: Lake) -> None:
    offered(warehouse, lake)
    assert people(warehouse).equals(ROWS)


def test_offered_again_a_day_is_replaced_and_the_others_stay(warehouse: Warehouse, lake: Lake) -> None:
    offered(warehouse, lake)
    changed = ROWS.tail(1).with_columns(tenure=pl.lit(9, pl.Int64))
    offered(warehouse, lake, changed)
    assert people(warehouse)["tenure"].to_list() == [2**40, 9]


def test_a_new_column_of_the_lake_is_offered_too(warehouse: Warehouse, lake: Lake) -> None:
    offered(warehouse, lake)
    offered(warehouse, lake, ROWS.with_columns(region=pl.lit("north")))
    with warehouse.session() as session:
        assert session.frame("select region from lake_world.people")["region"].to_list() == ["north"] * 2


def test_what_was_built_from_these_contents_is_given_back(warehouse: Warehouse, lake: Lake) -> None:
    offered(warehouse, lake)
    build(warehouse)
    contents = {"world/people": dict.fromkeys(DAYS, "hash")}
    warehouse.remember(["mart"], contents)
    assert warehouse.built("mart", contents, DAYS).select(ROWS.columns).sort("event_date").equals(ROWS)
    assert warehouse.built("mart", contents, DAYS[:1]).height == 1


@pytest.mark.parametrize("recorded", [None, {DAYS[0]: "hash"}, {DAYS[0]: "hash", DAYS[1]: "another"}])
def test_what_was_built_from_other_contents_is_refused(
    warehouse: Warehouse, lake: Lake, recorded: dict[str, str] | None
) -> None:
    offered(warehouse, lake)
    build(warehouse)
    if recorded:
        warehouse.remember(["mart"], {"world/people": recorded})
    with pytest.raises(LakeError, match=r"mart in \w+ was not made from world/people .* on 2024-01-0[12]"):
        warehouse.built("mart", {"world/people": dict.fromkeys(DAYS, "hash")}, DAYS)


def test_days_that_are_built_anew_are_not_trusted_until_they_are(warehouse: Warehouse, lake: Lake) -> None:
    offered(warehouse, lake)
    build(warehouse)
    contents = {"world/people": dict.fromkeys(DAYS, "hash")}
    warehouse.remember(["mart", "other"], contents)
    warehouse.forget(["mart"], DAYS[1:])
    assert warehouse.built("mart", contents, DAYS[:1]).height == 1
    with pytest.raises(LakeError, match="2024-01-02"):
        warehouse.built("mart", contents, DAYS)
    with warehouse.session() as session:
        assert session.frame("select * from marts.convergence_reads where model = 'other'").height == 2


def test_a_session_that_fails_leaves_nothing(warehouse: Warehouse, lake: Lake) -> None:
    offered(warehouse, lake)

    def fails() -> None:
        with warehouse.session() as session:
            session.execute("create table lake_world.half (a integer)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with warehouse.session() as session:
        there = session.frame("select table_name from information_schema.tables where table_schema = 'lake_world'")
    assert "half" not in there["table_name"]


def test_a_file_that_another_program_has_open_is_named_at_once(tmp_path: Path) -> None:
    file = tmp_path / "warehouse.duckdb"
    program = f"import duckdb, sys; c = duckdb.connect({str(file)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        with (
            pytest.raises(ServiceError, match=r"warehouse\.duckdb is open in another program"),
            duckdb_at(file).session(),
        ):
            pass
        other.communicate("")


def test_files_are_read_where_they_lie_and_those_of_an_object_store_are_copied_now_and_again(
    lake: Lake, tmp_path: Path
) -> None:
    there = duckdb_at(tmp_path / "warehouse.duckdb")
    offered(there, lake)
    elsewhere = DeltaTable(lake.uri("world/people"))  # as a table in a bucket is opened
    for handle, kind in ((lake.open("world/people"), "VIEW"), *[(elsewhere, "BASE TABLE")] * 2):
        assert handle
        there.offer("world/people", handle, lake.scan("world/people"), DAYS)
        with there.session() as session:
            kinds = session.frame("select table_type from information_schema.tables where table_schema = 'lake_world'")
        assert kinds["table_type"].to_list() == [kind]
        assert people(there).equals(ROWS)


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    there = PostgreSQL("postgresql://somebody:secret@127.0.0.1:1/database")
    with (
        pytest.raises(ServiceError, match=r"PostgreSQL at 127\.0\.0\.1:1 does not let us in") as refused,
        there.session(),
    ):
        pass
    assert "secret" not in f"{refused.value}{there}"
