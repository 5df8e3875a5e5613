"""What a child process, a driver or a compiler of SQL says when it fails on rows is kept without them."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl
import pytest

from convergence.arrivals.simulators.churn import simulate
from convergence.cli import instance
from convergence.contracts import expectations
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.models import h2o_leaderboard
from convergence.models.ensemble import Rows
from convergence.monitoring import evidently_report
from convergence.objects.images import ImageDecoder
from convergence.services.postgres import PostgresServer
from convergence.versions.sql_lineage import query_columns
from convergence.warehouse.postgres import PostgreSQL
from convergence_assets.churn import definitions
from convergence_assets.churn.arrivals import FIRST_DAY, on_replay_clock
from convergence_assets.governance.proof import run_chaos
from resources.alerts import Alerts
from resources.configured import resources
from resources.environments import ROOT, Settings
from resources.lake import LakeIOManager, lake_asset
from sensors.alerts import alerts
from tests.convergence.redis_servers import redis_server
from tests.resources.kept import found, kept

CANARIES = {
    "mail": "erika.mustermann@example.org",
    "iban": "DE89 3704 0044 0532 0130 00",
    "name": "Zacharias Quintessenz",
    "customer": "7590-VHVEG",
    "number": "7001002003",
}
TEXT = (
    "; ".join(CANARIES.values()) + " \"'` O'Brien\nZacharias Quintessenz"
)  # quotes and a line of its own, as people write
DAILY = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-03")
DAY = "2024-01-01"
PYTHON = evidently_report.PYTHON


class Person(pa.DataFrameModel):
    event_date: date
    customer: str
    number: int = pa.Field(ge=0)


ROWS = pl.DataFrame({"event_date": [date(2024, 1, 1)], "customer": [TEXT], "number": [7001002003]})

# Every module that starts a process: the tests that have it fail on rows, or why it is given none.
CHILDREN = {
    "convergence/monitoring/evidently_report.py": ["evidently", "evidently_standing_in"],
    "convergence/contracts/expectations.py": ["great_expectations_standing_in"],
    "convergence/models/h2o_leaderboard.py": ["h2o_standing_in"],
    "convergence/objects/images.py": ["image_decoder"],
    "convergence_assets/governance/proof.py": ["chaos"],
    "convergence/services/postgres.py": ["postgres_row", "postgres_key", "postgres_cast", "postgres_copy"],
    "convergence/services/redis.py": ["redis"],
    "resources/warehouse.py": ["test_what_dbt_says_of_rows_that_it_cannot_build_from_is_kept_without_them"],
    "resources/dbt.py": "compiles the project, with no warehouse",
    "convergence/services/kafka.py": "a broker, whose log names topics and offsets",
    "convergence/services/jars.py": "Java's version and Maven",
    "convergence/services/processes.py": "starts what the services name, and asks `ps`",
    "convergence/services/guardian.py": "asks `ps`",
    "convergence/services/together.py": "starts what its callers name",
    "convergence/chaos/children.py": "landers and a daemon of a trial's own, on drawn messages",
    "convergence/cli/launcher.py": "Dagster, which tells what its event log holds",
    "convergence/cli/side_by_side.py": "demos, which tell what the event log holds",
    "convergence/contracts/history.py": "git, on contract files",
    "convergence/versions/revision.py": "git, on the revision",
}
STARTS = re.compile(
    r"subprocess\.(?:run|Popen|call|check_\w+|getoutput)|\bspawn\(|\bmultiprocessing\b|\bProcessPoolExecutor\b"
    r"|\bos\.(?:exec|spawn|fork|posix_spawn|system|popen)|\bDbtCliResource\(|create_subprocess|\bPipes\w+Client\("
    r"|\btogether\("
)


def test_every_module_that_starts_a_process_is_among_those_that_are_tried() -> None:
    folders = ("convergence", "convergence_assets", "resources", "sensors", "asset_checks")
    starting = {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if STARTS.search(path.read_text())
    }
    assert starting == set(CHILDREN)
    tried = {name for names in CHILDREN.values() if isinstance(names, list) for name in names}
    assert tried <= {*FAILING, *globals()}


def standing_in(folder: Path) -> Path:
    """A Python in place of a companion's: it reads the rows that it is given and fails on them, quoting all."""
    path = folder / "python"
    program = f"""#!{sys.executable} -B
import sys
import polars as pl
text = "".join(str(pl.read_parquet(f).to_dicts()) for f in sys.argv if f.endswith(".parquet"))
print(text)
print(text, file=sys.stderr)
def convert():
    float(text)
convert()
"""
    path.write_text(program)
    path.chmod(0o755)
    return path


class Outside(NamedTuple):
    """What the failing bodies need."""

    folder: Path
    postgres: PostgreSQL
    redis: str


def _evidently(rows: pl.DataFrame, outside: Outside, python: Path | None = None) -> None:
    page = outside.folder / "page.html"
    texts = rows.select(amount="customer")
    evidently_report.compare(
        pl.DataFrame({"amount": [1.0, 2.0]}), texts, page, method="wasserstein", python=python or PYTHON
    )


def _expectations(rows: pl.DataFrame, outside: Outside) -> None:
    expectations.run(Person, [rows], python=standing_in(outside.folder))


def _h2o(rows: pl.DataFrame, outside: Outside) -> None:
    numbers = rows.select(pl.col("number").cast(pl.Float32)).to_numpy()
    values = Rows(numbers, np.array([True]), rows["event_date"].to_numpy(), np.ones(1))
    # it is given numbers alone: a text stands in for the name of a column, which may come from data too
    h2o_leaderboard.leaderboard(
        values, np.zeros(1, np.int64), [TEXT], models=1, budget=1, python=standing_in(outside.folder)
    )


def _decoder(rows: pl.DataFrame, outside: Outside) -> None:
    with ImageDecoder() as decoder:
        decoder.describe(rows["customer"][0].encode())


def _chaos(rows: pl.DataFrame, outside: Outside) -> None:
    package = outside.folder / "convergence"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(f"float({rows['customer'][0]!r})")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(outside.folder))
        patch.chdir(outside.folder)
        run_chaos(runs=1, seed=0, parallel=1)


def _postgres(sql: str) -> Callable[[pl.DataFrame, Outside], None]:
    def failing(rows: pl.DataFrame, outside: Outside) -> None:
        with outside.postgres.session() as session:
            session.execute("create temporary table people (customer text primary key, number bigint not null)")
            session.execute("insert into people values (?, 1)", [TEXT])
            session.execute(sql, [rows["customer"][0]])

    return failing


def _postgres_copy(rows: pl.DataFrame, outside: Outside) -> None:
    from io import BytesIO

    with outside.postgres.session() as session:
        session.execute("create temporary table people (number bigint)")
        text = BytesIO(rows.select("customer").write_csv(include_header=False).encode())
        session.connection.cursor().copy_expert("copy people from stdin (format csv)", text)  # pyright: ignore


def _duckdb(sql: str) -> Callable[[pl.DataFrame, Outside], None]:
    def failing(rows: pl.DataFrame, outside: Outside) -> None:
        import duckdb

        with duckdb.connect() as connection:
            connection.execute("create table people (customer text primary key, number bigint not null)")
            connection.execute("insert into people values (?, 1)", [rows["customer"][0]])
            connection.execute(sql.replace("{}", rows["customer"][0].replace("'", "''")))

    return failing


def _redis(rows: pl.DataFrame, outside: Outside) -> None:
    from redis import Redis

    with Redis.from_url(outside.redis) as client:
        client.execute_command(rows["customer"][0], "x")


def _kafka(rows: pl.DataFrame, outside: Outside) -> None:
    from confluent_kafka import Producer

    Producer({"bootstrap.servers": "127.0.0.1:1", rows["customer"][0]: 1})


def _lineage(rows: pl.DataFrame, outside: Outside) -> None:
    query_columns(f"select a, from b where c = '{rows['customer'][0]}'", {})


FAILING: dict[str, Callable[[pl.DataFrame, Outside], None]] = {
    "evidently": _evidently,
    "evidently_standing_in": lambda rows, outside: _evidently(rows, outside, standing_in(outside.folder)),
    "great_expectations_standing_in": _expectations,
    "h2o_standing_in": _h2o,
    "image_decoder": _decoder,
    "chaos": _chaos,
    "postgres_row": _postgres("insert into people values (? || 'x', null)"),
    "postgres_key": _postgres("insert into people values (?, 2)"),
    "postgres_cast": _postgres("select cast(? as bigint)"),
    "postgres_copy": _postgres_copy,
    "duckdb_cast": _duckdb("select cast(customer as bigint) from people"),
    "duckdb_key": _duckdb("insert into people select customer, 2 from people"),
    "duckdb_parser": _duckdb("selec '{}' fro people"),
    "duckdb_binder": _duckdb("select nothing('{}') from people"),
    "redis": _redis,
    "kafka": _kafka,
    "sqlglot": _lineage,
}


def asset_failing(name: str, outside: Outside) -> dg.AssetsDefinition:
    mine = outside._replace(folder=outside.folder / name)
    mine.folder.mkdir(parents=True)

    @lake_asset(name=name, key_prefix="shop", contract=Person, partitions_def=DAILY, code_version="1",
                ins={"people": dg.AssetIn(["shop", "people"])})  # fmt: skip
    def failing(people: pl.LazyFrame) -> pl.DataFrame:
        rows = people.collect()
        FAILING[name](rows, mine)
        return rows

    return failing


def planted(lake: Lake, table: str, rows: pl.DataFrame) -> None:
    parts = {str(day): part for (day,), part in rows.partition_by("event_date", as_dict=True).items()}
    lake.replace(table, parts, build_manifest(parts, "replace", Provenance("run", "1")), lake.open(table))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def dagster(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The platform's own instance, in the home."""
    home.mkdir()
    monkeypatch.setenv("DAGSTER_HOME", "")  # and is unset again afterwards
    monkeypatch.setattr("resources.environments.settings", lambda: Settings(home=home))
    with instance() as platform:
        yield platform


def told(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What Dagster was told of each step that failed."""
    data = {e.step_key: e.step_failure_data for e in result.all_events if e.is_step_failure}
    return {
        str(step).removeprefix("shop__"): str(d.user_failure_data.description if d.user_failure_data else d.error)
        for step, d in data.items()
    }


def alerted(home: Path, dagster: dg.DagsterInstance) -> None:
    """Have the alert sensor tell of everything in the event log."""
    cursor = json.dumps({"file": {"checks": 0, "runs": None}})
    context = dg.build_sensor_context(
        instance=dagster, cursor=cursor, resources={"alerts": Alerts(home=str(home), ui="")}
    )
    alerts.evaluate_tick(context)


def test_what_children_drivers_and_compilers_say_of_rows_is_kept_without_them(
    dagster: dg.DagsterInstance, home: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    planted(Lake(str(home / "lake")), "shop/people", ROWS)
    with redis_server() as redis:
        outside = Outside(tmp_path / "outside", PostgreSQL(postgres.url), redis)
        people = dg.AssetSpec(["shop", "people"], partitions_def=DAILY)
        defs = dg.Definitions(
            assets=[people.with_io_manager_key("lake"), *(asset_failing(name, outside) for name in FAILING)],
            resources={"lake": LakeIOManager(root=str(home / "lake"), traces=str(home / "traces"))},
            executor=dg.in_process_executor,
        )
        job = defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=dagster, partition_key=DAY, raise_on_error=False)
    alerted(home, dagster)

    said = told(result)
    assert said.keys() == FAILING.keys()
    assert {name: text for name, text in said.items() if any(c in text for c in CANARIES.values())} == {}
    data = tuple(str(f.relative_to(home)) for f in (home / "lake" / "shop" / "people").rglob("*.parquet"))
    assert found(home, CANARIES, without=data) == {}
    assert {p.parts[0] for p in map(Path, dict(kept(home)))} >= {"alerts", "dagster", "logs", "traces"}
    assert not any(c in postgres.log.read_text() for c in CANARIES.values())
    for name, kind in KINDS.items():
        assert kind in said[name], (name, said[name])


KINDS = {
    "evidently": "ServiceError: Evidently made no report",
    "evidently_standing_in": "ValueError: could not convert string to float",
    "great_expectations_standing_in": "At python:9 <module> > python:8 convert",
    "h2o_standing_in": "ServiceError: H2O AutoML failed",
    "image_decoder": "ImageRefused: the image was refused: not an image",
    "chaos": "ServiceError: the proof made 0 of 1 trials",
    "postgres_row": "NotNullViolation: null value in column",
    "postgres_key": "UniqueViolation: duplicate key value",
    "postgres_cast": "InvalidTextRepresentation: invalid input syntax for type bigint",
    "postgres_copy": "InvalidTextRepresentation: invalid input syntax for type bigint",
    "duckdb_cast": "ConversionException: Conversion Error: Could not convert string",
    "duckdb_key": "ConstraintException: Constraint Error: Duplicate key",
    "duckdb_parser": "ParserException: Parser Error: syntax error",
    "duckdb_binder": "CatalogException: Catalog Error",
    "redis": "ResponseError: unknown command",
    "kafka": "KafkaException: ",
    "sqlglot": "UnreadableQuery: the columns of a query cannot be traced: not understood at line 1",
}


def test_what_dbt_says_of_rows_that_it_cannot_build_from_is_kept_without_them(
    dagster: dg.DagsterInstance, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake(str(home / "lake"))
    at = datetime.combine(FIRST_DAY, datetime.min.time(), UTC)
    rows = on_replay_clock(simulate(1)).drop("Churn").with_columns(
        event_time=pl.lit(at), arrived_at=pl.lit(at), event_date=pl.lit(FIRST_DAY), SeniorCitizen=pl.lit(TEXT)
    )  # fmt: skip
    planted(lake, "churn/customers", rows)
    mine = dg.Definitions(
        resources=resources(Settings(home=home, warehouse="duckdb", postgres=None)), executor=dg.in_process_executor
    )
    job = dg.Definitions.merge(definitions.defs, mine).resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=dagster,
        asset_selection=[dg.AssetKey(["churn", name]) for name in ("stg_customers", "mart_accounts")],
        partition_key=str(FIRST_DAY),
        raise_on_error=False,
    )
    alerted(home, dagster)

    (said,) = told(result).values()
    assert said.startswith("ServiceError: dbt did not end well:")
    assert "mart_accounts" in said
    assert "Conversion Error: Could not convert string" in said
    data = [str(f.relative_to(home)) for f in (home / "lake" / "churn" / "customers").rglob("*.parquet")]
    assert found(home, CANARIES, without=(*data, "warehouse/")) == {}
    target = [p for p in (ROOT / "dbt").rglob("*") if p.is_file() and p.stat().st_mtime > home.stat().st_ctime - 60]
    assert [str(p) for p in target if any(c.encode() in p.read_bytes() for c in CANARIES.values())] == []
