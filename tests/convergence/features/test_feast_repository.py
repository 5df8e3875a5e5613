"""What Feast makes of an exported repository: Feast itself, in the Python that has it, beside our own reads."""

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.errors import ConvergenceError
from convergence.features.feast_repository import AS_OF, as_known, export
from convergence.features.groups import FeatureGroup
from convergence.features.offline import PolarsOffline, historical_features
from convergence.features.online_store import OnlineStore
from convergence.features.online_updates import fill
from convergence.lake.tables import Lake
from convergence.monitoring.evidently_report import PYTHON
from convergence.services.redis import connect, stop_embedded
from convergence.serving.reading import FeatureReader
from convergence_assets.churn import feature_views as churn
from convergence_assets.churn.features import feature_rows as customer_rows
from convergence_assets.fraud import feature_views as fraud
from convergence_assets.fraud.datasets import label_rows, transaction_rows
from convergence_assets.fraud.features import feature_rows
from convergence_assets.fraud.requests import FEATURES
from tests.convergence.features import oracle
from tests.convergence.features.oracle import Row
from tests.convergence.features.test_offline import declared, fact, facts, stored
from tests.convergence.lake.frames import write
from tests.convergence_assets.fraud.streams import END, landed, stream

ASIDE = Path(__file__).with_name("feast_side.py")
LATER = datetime(2029, 1, 1, tzinfo=UTC)
VIEWS = {"fraud": fraud.VIEWS, "churn": churn.VIEWS}
GROUPS = [pytest.param(case, group, id=group.name) for case, tables in VIEWS.items() for group in tables[0].groups]


def accounts(days: int, a_day: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Accounts and labels that keep the contracts' types, every value drawn at random."""
    draw, rows = np.random.default_rng(0), days * a_day
    values: dict[str, Any] = {
        "gender": ["female", "male"],
        "internet_service": ["none", "dsl", "fiber_optic"],
        "contract": ["month_to_month", "one_year", "two_year"],
        "payment_method": ["electronic_check", "mailed_check", "bank_transfer", "credit_card"],
    }
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n // a_day, minutes=n % a_day) for n in range(rows)]
    columns: dict[str, Any] = {"event_time": times, "event_date": [time.date() for time in times]}
    columns["arrived_at"] = [time + timedelta(hours=int(draw.choice([0, 0, 0, 3]))) for time in times]
    # some customers are looked at on several days
    columns["customer_id"] = [f"{(n % a_day) if n % 3 else 1000 + n}-ABCDE" for n in range(rows)]
    schema = dict(churn.VIEWS[0].columns)
    for name in churn.Account.to_schema().columns:
        kind = schema[name]
        if name not in columns:
            integers = kind == pl.Int64
            numbers = np.arange(9) if integers else np.arange(9) / 4
            drawn = values.get(name, [True, False] if kind == pl.Boolean else numbers)
            columns[name] = draw.choice(drawn, rows).tolist()
    table = pl.DataFrame(columns, schema={name: schema[name] for name in churn.Account.to_schema().columns})
    left = table.select("event_date", "event_time", "customer_id", "contract", "internet_service", "payment_method")
    known = (pl.col("event_time") + churn.LABEL_DELAY).alias("label_time")
    return table, left.with_columns(known, churned=pl.Series(draw.random(rows) < 0.3))


class World(NamedTuple):
    lake: Lake
    home: Path


def spine(lake: Lake, group: FeatureGroup) -> pl.DataFrame:
    """What is asked of a group: some of its rows when they were known and a moment before, and an unknown entity."""
    rows = lake.scan(group.table).collect().sample(60, seed=1, shuffle=True)
    known = pl.max_horizontal("event_time", "arrived_at")
    asked = pl.concat(
        [
            rows.select(*group.entity, event_timestamp=known + after)
            for after in (timedelta(0), -timedelta(microseconds=1))
        ]
    )
    nobody = asked.head(1).with_columns(
        pl.lit("nobody" if kind == pl.String else -1).cast(kind).alias(key)
        for key, kind in zip(group.entity, asked.select(group.entity).dtypes, strict=True)
    )
    return pl.concat([asked, nobody]).with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A lake with late rows, what both use cases export of it, and Feast's answers about it."""
    if not PYTHON.exists():
        if os.environ.get("CI") or os.environ.get("CONVERGENCE_REQUIRE_SERVICES"):
            raise FileNotFoundError(f"no Python with Feast at {PYTHON}: `make setup` makes it")
        pytest.skip("no Python with Feast")
    home = tmp_path_factory.mktemp("home")
    lake = Lake(str(home / "lake"))
    landed(lake, home / "inbox", "all", stream())
    raw = lake.scan("fraud/raw_transactions")
    days = feature_rows(transaction_rows(raw), label_rows(raw), END - timedelta(days=4), END)
    write(lake, days, table="fraud/transaction_features")
    begin = datetime(2024, 3, 1, tzinfo=UTC)
    rows = customer_rows(*(frame.lazy() for frame in accounts(70, 10)), begin, begin + timedelta(days=10))
    write(lake, rows, table="churn/customer_features")
    for case, tables in VIEWS.items():
        export(lake, case, tables, home / case / "repository", owners={tables[0].table: f"team:{case}"})
        (home / case / "asked").mkdir()
        for group in tables[0].groups:
            spine(lake, group).write_parquet(home / case / "asked" / f"{group.name}.parquet")
    quiet = os.environ | {"FEAST_USAGE": "False", "DO_NOT_TRACK": "1", "TQDM_DISABLE": "1"}
    # -P: the folder of the script is not a place to import from
    command = [str(PYTHON), "-P", "-W", "ignore", str(ASIDE), *(str(home / case) for case in VIEWS)]
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return World(lake, home)


def answers(world: World, case: str, group: FeatureGroup, kind: str) -> pl.DataFrame:
    """Feast's rows with the types of ours: pandas makes numbers with gaps floats."""
    found = pl.read_parquet(world.home / case / "asked" / f"{group.name}.{kind}")
    types = {name: group.columns[name] for name in (*group.entity, *group.features)}
    times = cs.datetime().dt.cast_time_unit("us")
    return found.with_columns(cs.float().fill_nan(None), times).cast(types)


@pytest.mark.parametrize(("case", "group"), GROUPS)
def test_feasts_historical_features_are_ours_row_by_row(world: World, case: str, group: FeatureGroup) -> None:
    asked = spine(world.lake, group)
    ours = historical_features(PolarsOffline(world.lake), asked, [group], time="event_timestamp")
    theirs = answers(world, case, group, "historical").select(ours.columns).sort("row")
    assert_frame_equal(theirs, ours.filter(pl.col("row").is_in(theirs["row"].implode())), check_exact=True)
    # of entities that have later rows only, Feast leaves the row out
    left_out = ours.filter(~pl.col("row").is_in(theirs["row"].implode()))
    assert left_out.select(pl.all_horizontal(pl.col(list(group.features)).is_null()).all()).item()
    assert theirs.height > 60
    assert theirs.select(pl.any_horizontal(pl.col(list(group.features)).is_not_null()).sum()).item() >= 60


@pytest.mark.parametrize(("case", "group"), [case for case in GROUPS if case.values[1].lasting])
def test_feasts_online_features_are_the_last_that_we_know(world: World, case: str, group: FeatureGroup) -> None:
    theirs = answers(world, case, group, "online")
    asked = theirs.select(group.entity).with_columns(event_time=pl.lit(LATER).cast(pl.Datetime("us", "UTC")))
    ours = historical_features(PolarsOffline(world.lake), asked, [group]).drop("event_time")
    assert_frame_equal(theirs.select(ours.columns), ours, check_exact=True)


@pytest.mark.parametrize("name", ["transaction_features_by_customer_id", "transaction_features_by_terminal_id"])
def test_feasts_online_features_are_those_that_we_serve_for_the_last_event(world: World, name: str) -> None:
    (group,) = (group for group in fraud.VIEWS[0].groups if group.name == name)
    answered = pl.col("event_time") > END - timedelta(days=2)  # as far as the online state reaches back
    rows = world.lake.scan(group.table).sort("event_time", "transaction_id").unique(group.entity, keep="last")
    last = rows.filter(answered).collect()
    times = [pl.col(name).dt.epoch("us") for name in ("event_time", "arrived_at")]
    view = FEATURES.online
    store = OnlineStore(connect(None, world.home), view.layout)
    namespace = fill(world.lake, FEATURES, store)
    served = FeatureReader(view, store).vectors(namespace, last.select(*view.inputs).with_columns(times).to_dicts())
    stop_embedded(world.home)
    assert served.degraded is None
    vectors = pl.DataFrame(served.values, schema=list(view.view.features)).select(list(group.features))
    ours = pl.concat([last.select(group.entity), vectors.fill_nan(None)], how="horizontal")
    theirs = answers(world, "fraud", group, "online").with_columns(pl.col(list(group.features)).cast(pl.Float64))
    matched = theirs.join(ours, on=group.entity, suffix="_ours").drop_nulls(list(group.entity))
    assert matched.height > 20
    for feature in group.features:
        assert matched[feature].equals(matched[f"{feature}_ours"], check_names=False), feature


@pytest.mark.parametrize("case", list(VIEWS))
def test_feast_knows_owner_descriptions_and_how_each_feature_is_computed(world: World, case: str) -> None:
    declared = json.loads((world.home / case / "asked" / "declared.json").read_text())
    for group in VIEWS[case][0].groups:
        told = declared[group.name]
        assert (told["online"], told["owner"], told["features"]) == (
            group.lasting,
            f"team:{case}",
            dict(group.features),
        )
        for aggregate in VIEWS[case][0].view.aggregates:
            if aggregate.name in told["tags"]:
                assert told["tags"][aggregate.name]["window"] == str(aggregate.window)


@settings(max_examples=100, deadline=None)
@given(facts(), st.integers(0, 2))
def test_one_clock_suffices_for_what_is_exported(rows: list[Row], number: int) -> None:
    """At every moment the last exported row by its one time is the last known one by both."""
    table = declared()
    group = table.groups[number]
    exported = as_known(stored(rows).lazy(), group).rows.to_dicts()
    for moment in {max(row["event_time"], row["arrived_at"]) for row in rows}:
        for entity in {tuple(row[key] for key in group.entity) for row in rows}:
            asked = dict(zip(group.entity, entity, strict=True)) | {"event_time": moment, "arrived_at": moment}
            expected = oracle.last_known_fact(asked, rows, group.entity, "sequence")
            by_then = [e for e in exported if all(e[k] == asked[k] for k in group.entity) and e[AS_OF] <= moment]
            found = max(by_then, key=lambda row: row[AS_OF], default=None)
            assert (found and {f: found[f] for f in group.features}) == (
                expected and {f: expected[f] for f in group.features}
            )


def test_a_key_that_means_two_things_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConvergenceError, match="customer_id is Int64 in one table and String in churn"):
        export(Lake(str(tmp_path)), "both", [*fraud.VIEWS, *churn.VIEWS], tmp_path / "repository", owners={})


def test_redis_is_named_by_the_environment_and_no_secret_is_written(tmp_path: Path) -> None:
    lake, table = Lake(str(tmp_path / "lake")), declared()
    write(lake, stored([fact(1, 0)]), table=table.table)
    export(lake, "uc", [table], tmp_path / "repository", owners={}, online="redis")
    assert "${FEAST_REDIS}" in (tmp_path / "repository" / "feature_store.yaml").read_text()
