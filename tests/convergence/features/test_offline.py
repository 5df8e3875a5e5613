"""Historical features: three engines and one definition, which is a loop over rows."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.errors import ConvergenceError, ServiceError, TableMissing
from convergence.features.groups import FeatureTable
from convergence.features.offline import DuckDBOffline, OfflineStore, PolarsOffline, historical_features
from convergence.features.offline_postgres import PostgresOffline
from convergence.features.views import Aggregate, FeatureView
from convergence.lake.tables import Lake
from convergence.services.postgres import PostgresServer
from tests.convergence.features import oracle
from tests.convergence.features.oracle import Row
from tests.convergence.lake.frames import write

BEGIN = datetime(2024, 1, 1, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
NAMES = count()
TIME = pl.Datetime("us", "UTC")
ENGINES = ("polars", "duckdb", "postgres")

TIMES = st.builds(
    lambda hours, ticks: BEGIN + hours * HOUR + timedelta(microseconds=ticks), st.integers(0, 6), st.integers(-1, 1)
)
DELAYS = st.sampled_from((timedelta(0), timedelta(0), timedelta(microseconds=1), HOUR, 3 * HOUR))
KEYS = st.sampled_from((1, 1, 1, 2, 3, None))
TEXTS = st.one_of(st.none(), st.sampled_from(("", '"', "a,b", "\\N", "\\.", "NULL", "é\n", " x ")))
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False), st.just(0.1 + 0.2))


def aggregate(name: str, *entity: str) -> Aggregate:
    return Aggregate(name, description=name, entity=entity, function="count", window=HOUR)


VIEW = FeatureView(
    "facts",
    description="Facts",
    source="events",
    sequence="sequence",
    keep=("event_date", "sequence", "customer", "shop", "text", "number", "yes"),
    aggregates=(aggregate("n", "customer"), aggregate("both", "customer", "shop")),
)


class Facts(pa.DataFrameModel):
    event_date: pl.Date
    event_time: TIME
    arrived_at: TIME
    sequence: int
    customer: int = pa.Field(nullable=True)
    shop: pl.Int32 = pa.Field(nullable=True)
    text: str = pa.Field(nullable=True)
    number: float = pa.Field(nullable=True)
    yes: bool = pa.Field(nullable=True)
    n: int
    both: pl.Int16


def declared(name: str = "uc/facts", max_age: timedelta | None = None) -> FeatureTable:
    return FeatureTable(name, VIEW, Facts, ("text", "number", "yes"), max_age=max_age)


@st.composite
def facts(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for number in range(draw(st.integers(1, 25))):
        time = draw(TIMES)
        row = {"sequence": number, "event_time": time, "arrived_at": time + draw(DELAYS), "n": number, "both": number}
        row |= {"text": draw(TEXTS), "number": draw(NUMBERS), "yes": draw(st.sampled_from((True, False, None)))}
        rows.append(row | {"customer": draw(KEYS), "shop": draw(KEYS)})
        if draw(st.integers(0, 5)) == 0:
            rows.append(rows[-1] | {"arrived_at": rows[-1]["arrived_at"] + 2 * HOUR, "n": -number})
    return draw(st.permutations(rows))


@st.composite
def spines(draw: st.DrawFn) -> list[Row]:
    times = draw(st.lists(TIMES, max_size=15))
    return [
        {"event_time": time, "arrived_at": time + draw(DELAYS), "customer": draw(KEYS), "shop": draw(KEYS)}
        for time in times
    ]


def stored(rows: list[Row]) -> pl.DataFrame:
    dated = [row | {"event_date": row["event_time"].date()} for row in rows]
    return pl.DataFrame(dated, schema=declared().columns)


def spine_of(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"event_time": TIME, "arrived_at": TIME, "customer": pl.Int64, "shop": pl.Int64})


@pytest.fixture(scope="module")
def everywhere(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[FeatureTable, dict[str, OfflineStore]]]:
    """Write rows as a feature table of its own, publish it, and give the engines that read it."""
    lake, database = Lake(str(tmp_path_factory.mktemp("lake"))), PostgresOffline(postgres.url)

    def made(rows: list[Row], max_age: timedelta | None = None) -> tuple[FeatureTable, dict[str, OfflineStore]]:
        table = declared(f"uc/facts_{next(NAMES)}", max_age)
        write(lake, stored(rows), table=table.table)
        database.publish(lake, table)
        return table, {"polars": PolarsOffline(lake), "duckdb": DuckDBOffline(lake), "postgres": database}

    return made


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(spines(), facts(), st.sampled_from((None, HOUR, 3 * HOUR)))
def test_every_engine_gives_what_the_definition_gives(
    everywhere: Callable[..., Any], spine: list[Row], rows: list[Row], max_age: timedelta | None
) -> None:
    table, engines = everywhere(rows, max_age)
    by_event, by_customer, by_both = table.groups
    asked = spine_of(spine).with_columns(sequence=pl.int_range(pl.len()))
    for group, keys in ((by_customer, ("customer",)), (by_both, ("customer", "shop")), (by_event, ("sequence",))):
        chosen = [oracle.last_known_fact(row, rows, keys, "sequence") or {} for row in asked.to_dicts()]
        if max_age is not None:
            pairs = zip(spine, chosen, strict=True)
            chosen = [f if f and row["event_time"] - f["event_time"] <= max_age else {} for row, f in pairs]
        expected = pl.DataFrame(
            [{name: fact.get(name) for name in group.features} for fact in chosen],
            schema={name: table.columns[name] for name in group.features},
        )
        for name, engine in engines.items():
            found = historical_features(engine, asked, [group], known_by="arrived_at")
            assert_frame_equal(found.select(asked.columns), asked)
            given_by = f"{group.name} by {name}"
            assert found.select(list(group.features)).equals(expected), (given_by, found, expected)


def fact(number: int, hour: float, **columns: Any) -> Row:
    time = BEGIN + hour * HOUR
    row = {"sequence": number, "event_time": time, "arrived_at": time, "customer": 1, "shop": 1, "n": number}
    return row | {"text": "", "number": 0.5, "yes": None, "both": 1} | columns


def asked(hour: float = 9, **columns: Any) -> pl.DataFrame:
    return spine_of([{"event_time": BEGIN + hour * HOUR, "arrived_at": BEGIN, "customer": 1, "shop": 1, **columns}])


@pytest.mark.parametrize("engine", ENGINES)
def test_keys_of_another_width_find_the_rows_and_those_of_another_type_are_refused(
    everywhere: Callable[..., Any], engine: str
) -> None:
    table, engines = everywhere([fact(1, 0)])
    group = table.groups[1]
    found = historical_features(engines[engine], asked().with_columns(pl.col("customer").cast(pl.UInt8)), [group])
    assert found["n"].to_list() == [1]
    with pytest.raises(ConvergenceError, match="customer differ in type"):
        historical_features(engines[engine], asked().with_columns(pl.col("customer").cast(pl.String)), [group])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_that_is_not_there_is_named(everywhere: Callable[..., Any], engine: str) -> None:
    _, engines = everywhere([fact(1, 0)])
    for missing in ("uc/nothing", "nowhere/nothing"):
        with pytest.raises(TableMissing, match=f"{missing} (has never been written|was never published)"):
            historical_features(engines[engine], asked(), [declared(missing).groups[1]])


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
def test_an_earlier_version_of_the_table_can_be_asked(tmp_path: Path, engine: str) -> None:
    lake, table = Lake(str(tmp_path)), declared()
    write(lake, stored([fact(1, 0)]), table=table.table)
    handle = lake.open(table.table)
    assert handle is not None
    before = {table.table: handle.version()}
    write(lake, stored([fact(2, 0)]), table=table.table)
    made = {"polars": PolarsOffline, "duckdb": DuckDBOffline}[engine]
    answers = [historical_features(made(lake, v), asked(), table.groups[1:2])["n"].item() for v in (before, {})]
    assert answers == [1, 2]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_feature_that_came_later_is_null_in_rows_from_before(
    engine: str, tmp_path: Path, postgres: PostgresServer
) -> None:
    lake, table, database = Lake(str(tmp_path)), declared(f"later/{engine}"), PostgresOffline(postgres.url)
    write(lake, stored([fact(1, 0)]).drop("n"), table=table.table)
    write(lake, stored([fact(2, 9)]), table=table.table)
    database.publish(lake, table)
    store = {"polars": PolarsOffline(lake), "duckdb": DuckDBOffline(lake), "postgres": database}[engine]
    spine = pl.concat([asked(1), asked(10)])
    assert historical_features(store, spine, table.groups[1:2])["n"].to_list() == [None, 2]


def test_publishing_again_changes_nothing_and_a_changed_or_lost_day_follows(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    lake, table, database = Lake(str(tmp_path / "lake")), declared("published/facts"), PostgresOffline(postgres.url)
    write(lake, stored([fact(1, 0), fact(2, 9)]), table=table.table)
    assert database.publish(lake, table) == {"2024-01-01": 1, "2024-01-02": 1}
    assert database.publish(lake, table) == {}
    write(lake, stored([fact(3, 9)]), table=table.table)
    assert database.publish(lake, table) == {"2024-01-02": 1}
    group = table.groups[1]
    assert historical_features(database, asked(), [group])["n"].to_list() == [3]
    other = Lake(str(tmp_path / "other"))
    write(other, stored([fact(3, 9)]), table=table.table)
    assert database.publish(other, table) == {}
    assert historical_features(database, asked(8), [group])["n"].to_list() == [None]


def test_a_publication_that_fails_leaves_the_one_before(
    tmp_path: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, table, database = Lake(str(tmp_path)), declared("broken/facts"), PostgresOffline(postgres.url)
    write(lake, stored([fact(1, 0)]), table=table.table)
    database.publish(lake, table)
    write(lake, stored([fact(2, 0), fact(3, 9, text="a\0b")]), table=table.table)  # PostgreSQL takes no NUL
    with pytest.raises(ConvergenceError, match="2024-01-02"):
        database.publish(lake, table)
    assert historical_features(database, asked(), table.groups[1:2])["n"].to_list() == [1]


def test_a_database_that_cannot_be_reached_is_said_without_its_password(postgres: PostgresServer) -> None:
    password = postgres.url.split(":")[2].split("@")[0]
    for url in (postgres.url.replace(password, "wrong-secret"), "postgresql://u:wrong-secret@127.0.0.1:1/d"):
        store = PostgresOffline(url)
        with pytest.raises(ServiceError, match="CONVERGENCE_POSTGRES") as told:
            historical_features(store, asked(), declared().groups[1:2])
        assert "wrong-secret" not in f"{told.value}{store!r}"


def test_names_that_would_collide_and_columns_that_are_missing_are_refused(tmp_path: Path) -> None:
    store, group = PolarsOffline(Lake(str(tmp_path))), declared().groups[1]
    with pytest.raises(ConvergenceError, match="would be called n"):
        historical_features(store, asked().with_columns(n=1), [group])
    with pytest.raises(ConvergenceError, match="lacks customer"):
        historical_features(store, asked().drop("customer"), [group])
    with pytest.raises(ConvergenceError, match="lacks known"):
        historical_features(store, asked(), [group], known_by="known")


def test_duckdb_refuses_a_lake_in_a_bucket() -> None:
    with pytest.raises(ConvergenceError, match="polars or postgres"):
        historical_features(DuckDBOffline(Lake("s3://bucket/lake")), asked(), declared().groups[1:2])


def test_a_table_declared_with_a_column_that_its_contract_lacks_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="its contract lacks nothing"):
        FeatureTable("uc/facts", VIEW, Facts, ("nothing",))
