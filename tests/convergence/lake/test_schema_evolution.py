"""Columns come, are renamed and get another type: whoever reads a table of the lake sees the same rows."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from itertools import count
from pathlib import Path

import pandera.polars as pa
import polars as pl
import pytest
from dagster_duckdb import DuckDBResource
from polars.testing import assert_frame_equal

from convergence.errors import ConvergenceError, LakeError, SchemaConflict
from convergence.features.groups import FeatureTable
from convergence.features.offline import DuckDBOffline, OfflineStore, PolarsOffline, historical_features
from convergence.features.offline_postgres import PostgresOffline
from convergence.features.views import Aggregate, FeatureView
from convergence.lake.tables import Lake
from convergence.services.postgres import PostgresServer
from convergence.warehouse.duckdb import DuckDB
from convergence.warehouse.postgres import PostgreSQL
from convergence.warehouse.warehouse import Warehouse, relation
from tests.convergence.lake.evolution import CHANGES, ORDERS, rows, written
from tests.convergence.lake.frames import day, write

NAMES = count()
Reader = Callable[[Lake, str, Mapping[str, pl.DataType]], pl.DataFrame]


def by_polars(lake: Lake, table: str, _: object) -> pl.DataFrame:
    return lake.scan(table).collect()


def by_warehouse(warehouse: Warehouse) -> Reader:
    def read(lake: Lake, table: str, _: object) -> pl.DataFrame:
        handle, days = lake.open(table), [day(number) for number in range(3)]
        assert handle
        warehouse.offer(table, handle, lake.scan(table, days), days)
        with warehouse.session() as session:
            return session.frame(f"select * from {'.'.join(relation(table))}")

    return read


def facts(table: str, columns: Mapping[str, pl.DataType]) -> FeatureTable:
    """A declaration and a contract of these columns; each event can be asked for."""
    count = Aggregate("n", description="n", entity=("customer",), function="count", window=timedelta(hours=1))
    kept = tuple(name for name in columns if name not in ("event_time", "arrived_at", "n"))
    view = FeatureView(
        "facts", description="Facts", source="events", sequence="sequence", keep=kept, aggregates=(count,)
    )
    types = {
        name: kind.base_type() if name not in ("event_time", "arrived_at") else kind for name, kind in columns.items()
    }
    contract = type("Facts", (pa.DataFrameModel,), {"__annotations__": types})
    return FeatureTable(table, view, contract, tuple(columns.keys() - {"event_time", "arrived_at", "n", "sequence"}))


def by_store(store: Callable[[Lake], OfflineStore]) -> Reader:
    def read(lake: Lake, table: str, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
        declared, engine = facts(table, columns), store(lake)
        if isinstance(engine, PostgresOffline):
            engine.publish(lake, declared)
        asked = lake.scan(table).select("sequence", "event_time", "arrived_at").collect()
        return historical_features(engine, asked, declared.groups[:1])

    return read


@pytest.fixture(
    params=[
        "polars",
        "duckdb warehouse",
        "postgres warehouse",
        *(f"{e} offline" for e in ("polars", "duckdb", "postgres")),
    ]
)
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Reader:
    file = tmp_path / "warehouse.duckdb"
    match request.param:
        case "polars":
            return by_polars
        case "duckdb warehouse":
            return by_warehouse(DuckDB(file, DuckDBResource(database=str(file)).get_connection))
        case "polars offline":
            return by_store(PolarsOffline)
        case "duckdb offline":
            return by_store(DuckDBOffline)
    server: PostgresServer = request.getfixturevalue("postgres")
    if request.param == "postgres warehouse":
        return by_warehouse(PostgreSQL(server.url))
    return by_store(lambda _: PostgresOffline(server.url))


def assert_reads(read: Reader, lake: Lake, table: str, expected: pl.DataFrame) -> None:
    found = read(lake, table, expected.schema)
    assert_frame_equal(found.sort("sequence"), expected, check_column_order=False, check_exact=True)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_column_that_came_or_was_renamed_is_null_in_the_other_rows(
    read: Reader, lake: Lake, change: str, order: str
) -> None:
    table = f"evolved_{next(NAMES)}/facts"
    for expected in written(lake, table, change, order):
        assert_reads(read, lake, table, expected)


WIDENED = {
    "whole": (pl.Series([1, -(2**31)], dtype=pl.Int32), pl.Series([1, 2**40])),
    "share": (pl.Series([0.5, 0.1], dtype=pl.Float32), pl.Series([0.5, 0.1])),
    "label": (pl.Series([7, None]), pl.Series(["7", ""])),
}


@pytest.mark.parametrize("column", WIDENED)
def test_a_column_that_would_get_another_type_is_refused_with_what_to_do(lake: Lake, column: str) -> None:
    table = "widened/facts"
    before, after = (rows(0, {column: values}) for values in WIDENED[column])
    write(lake, before, table=table)
    for number in range(2):
        told = rf"{table}\.{column}: the table has .*, the new rows .*`convergence replay --from-beginning widened`"
        with pytest.raises(SchemaConflict, match=told):
            write(lake, after.with_columns(event_date=rows(number, {})["event_date"]), table=table)
    assert_frame_equal(by_polars(lake, table, None), before, check_column_order=False)


def test_after_a_rebuild_a_column_has_its_new_type_and_one_that_is_gone_is_gone(read: Reader, lake: Lake) -> None:
    table = f"rebuilt_{next(NAMES)}/facts"
    before, after = ({name: values[form] for name, values in WIDENED.items()} for form in range(2))
    write(
        lake,
        rows(0, {**before, "former": pl.Series(["a", "b"])}),
        rows(1, {**before, "former": pl.Series(["c", None])}),
        table=table,
    )
    assert_reads(read, lake, table, lake.scan(table).collect().sort("sequence"))
    rebuilt = lake.at({table: 2})
    same = {"whole": before["whole"].cast(pl.Int64), "share": pl.Series([0.5, None]), "label": pl.Series(["7", None])}
    expected = pl.concat([rows(0, after), rows(1, same)])
    write(rebuilt, expected, table=table)
    assert_reads(read, rebuilt, table, expected)


@pytest.mark.parametrize("engine", ["polars", "duckdb", "postgres"])
def test_a_feature_of_which_no_row_was_written_yet_is_named(lake: Lake, engine: str, postgres: PostgresServer) -> None:
    table = f"early_{engine}/facts"
    write(lake, rows(0, {}), table=table)
    store = {"polars": PolarsOffline, "duckdb": DuckDBOffline, "postgres": lambda _: PostgresOffline(postgres.url)}
    with pytest.raises(LakeError, match=f"{table} has no column channel yet: materialize"):
        by_store(store[engine])(lake, table, {**rows(0, {}).schema, "channel": pl.String()})


@pytest.mark.parametrize("read", ["postgres warehouse", "postgres offline"], indirect=True)
def test_what_postgresql_cannot_hold_is_named_without_its_value(read: Reader, lake: Lake) -> None:
    table = f"refused_{next(NAMES)}/facts"
    write(lake, rows(0, {"label": pl.Series(["secret\0", "b"])}), table=table)
    with pytest.raises(ConvergenceError, match=f"{table} .*PostgreSQL takes no NUL in a text") as told:
        read(lake, table, lake.scan(table).collect_schema())
    assert "secret" not in f"{told.value}{told.value.__cause__}"


def test_a_type_that_postgresql_would_not_give_back_is_named(lake: Lake, postgres: PostgresServer) -> None:
    write(lake, rows(0, {"several": pl.Series([[1], [2]])}), table="nested/facts")
    with pytest.raises(ConvergenceError, match=r"column 'several' is List\(Int64\)"):
        by_warehouse(PostgreSQL(postgres.url))(lake, "nested/facts", {})
