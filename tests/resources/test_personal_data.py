"""Canaries go through everything that may fail; a scan of all that Dagster, lake, logs and traces keep finds none."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from convergence.lake.tables import Lake
from resources.arrivals import Sources, landing_asset, topic_asset
from resources.lake import LakeIOManager, lake_asset
from tests.convergence.erasure.world import TOPIC, dropped, order
from tests.resources.kept import found

CANARIES = {
    "mail": "erika.mustermann@example.org",
    "phone": "+49 170 5550123",
    "iban": "DE89 3704 0044 0532 0130 00",
    "card": "4111 1111 1111 1111",
    "name": "Zacharias Quintessenz",
    "customer": "7590-VHVEG",
}
DAILY = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-11")
DAY = "2024-01-02"


class Person(pa.DataFrameModel):
    event_date: date
    customer: str = pa.Field(
        str_matches="^[0-9]{4}-[A-Z]{5}$", unique=True, metadata={"pii": "identifier", "subject": "customer"}
    )
    amount: float = pa.Field(ge=0)


def _made(name: str, body: Any) -> dg.AssetsDefinition:
    @lake_asset(name=name, contract=Person, key_prefix="shop", partitions_def=DAILY, code_version="1",
                ins={"raw": dg.AssetIn(["shop", "raw_orders"])})  # fmt: skip
    def asset(raw: pl.LazyFrame) -> pl.LazyFrame:
        return body(raw)

    return asset


def _quoting(raw: pl.LazyFrame) -> pl.LazyFrame:
    return raw.select(
        "event_date", "customer", amount=pl.col("customer").cast(pl.Float64)
    )  # quotes what it cannot cast


def _asking(raw: pl.LazyFrame) -> pl.LazyFrame:
    raise ValueError(f"invalid literal for int() with base 10: {raw.collect()['customer'][0]!r}")


BODIES = {
    "breaking": lambda raw: raw.select("event_date", "customer", "amount"),
    "quoting": _quoting,
    "asking": _asking,
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def dagster(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance with its files in the home, whose runs log as those of the platform do."""
    folder = home / "dagster"
    folder.mkdir(parents=True)
    monkeypatch.setenv("CONVERGENCE_HOME", str(home))
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def test_no_canary_is_kept_outside_of_data_files(dagster: dg.DagsterInstance, home: Path) -> None:
    good = order(CANARIES["customer"], amount=1.0)
    rejected = [order(said, amount=said) for said in CANARIES.values()]
    rejected += [order(said, schema_version=said, event_time=said) for said in CANARIES.values()]
    good_but_not_there = [order(said, amount=2.0) for said in CANARIES.values()]
    dropped(home / "inbox", "orders.jsonl", [good, *rejected, *good_but_not_there])
    lines = "\n".join([f"no JSON of {said}" for said in CANARIES.values()])
    (home / "inbox" / TOPIC.name / "broken.jsonl").write_text(lines)
    (home / "inbox" / TOPIC.name / "broken.parquet").write_bytes(CANARIES["mail"].encode())
    assets = [landing_asset(TOPIC, partitions_def=DAILY), *(_made(name, body) for name, body in BODIES.items())]
    defs = dg.Definitions(
        assets=[topic_asset(TOPIC), *assets],
        resources={
            "lake": LakeIOManager(root=str(home / "lake"), traces=str(home / "traces")),
            "sources": Sources(inbox=str(home / "inbox")),
        },
        executor=dg.in_process_executor,
    )
    job = defs.resolve_implicit_global_asset_job_def()
    outcomes = {
        asset.key.path[-1]: job.execute_in_process(
            instance=dagster, asset_selection=[asset.key], partition_key=DAY, raise_on_error=False
        ).success
        for asset in assets
    }

    assert outcomes == {"raw_orders": True, "breaking": False, "quoting": False, "asking": False}
    lake = Lake(str(home / "lake"))
    assert lake.scan("shop/raw_orders").collect().height == 7  # data are data
    assert lake.scan("shop/raw_orders_rejected").collect().height == 19
    assert lake.scan("shop/breaking_rejected").collect().height > 0
    data = tuple(f"lake/shop/{t}/" for t in ("raw_orders", "raw_orders_rejected", "breaking_rejected"))
    assert found(home, CANARIES, without=("inbox/", *(f"{d}event_date=" for d in data), *_parts(home, data))) == {}
    assert any(p.name.startswith("index") or p.suffix == ".db" for p in (home / "dagster").rglob("*"))


def _parts(home: Path, tables: tuple[str, ...]) -> list[str]:
    """The data files of tables without partitions."""
    return [str(f.relative_to(home)) for table in tables for f in (home / table).glob("*.parquet")]


def test_what_dagster_is_told_of_a_foreign_error_says_what_was_wrong_where(
    dagster: dg.DagsterInstance, home: Path
) -> None:
    dropped(home / "inbox", "orders.jsonl", [order(CANARIES["customer"])])
    assets = [landing_asset(TOPIC, partitions_def=DAILY), _made("quoting", _quoting)]
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            assets,
            instance=instance,
            partition_key=DAY,
            raise_on_error=False,
            resources={
                "lake": LakeIOManager(root=str(home / "lake")),
                "sources": Sources(inbox=str(home / "inbox")),
            },
        )
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    told = failure.step_failure_data.user_failure_data
    said = told.description if told else None
    assert said is not None
    assert said.startswith(
        "InvalidOperationError: conversion from `str` to `f64` failed in column 'customer' for 1 out"
    )
    assert "resources.lake:" in said.splitlines()[-1]
