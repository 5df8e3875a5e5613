"""A month of a feature-like table: through Dagster with everything the platform adds, and by a hand-written loop."""

import os
import shutil
import tempfile
from datetime import date
from pathlib import Path
from typing import Annotated

import dagster as dg
import pandera.polars as pa
import polars as pl
from deltalake import DeltaTable, write_deltalake

from benchmarks.data import DAYS, roomiest, transactions
from benchmarks.measure import Row, Section, alternately, compare
from convergence.cli import instance
from convergence.lake.contracts import StrictColumns, schema_of
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake, by_day
from resources.environments import settings
from resources.lake import LakeIOManager, lake_asset

DAILY = dg.DailyPartitionsDefinition(DAYS[0], end_date="2024-01-31")
SOURCE, FEATURES = "bench/source", "bench/features"
QUIET = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}


class Features(pa.DataFrameModel):
    """The transactions with three features: the rules are what a table of the fraud use case has."""

    event_date: date
    event_time: Annotated[pl.Datetime, "us", "UTC"]
    transaction_id: int = pa.Field(ge=0, unique=True)
    card_id: int = pa.Field(ge=0)
    merchant_id: int = pa.Field(ge=0)
    amount: float = pa.Field(ge=0)
    category: pl.Int32
    country: str = pa.Field(isin=["US", "DE", "FR", "IN", "BR"])
    score: float
    distance: float
    log_amount: float = pa.Field(ge=0)
    hour: pl.Int8 = pa.Field(ge=0, le=23)
    is_large: bool

    class Config(StrictColumns):
        """Columns are as declared."""


COLUMNS = schema_of(Features).names()


def feature_rows(source: pl.LazyFrame) -> pl.LazyFrame:
    """What both sides compute."""
    return source.with_columns(
        log_amount=pl.col("amount").log1p(), hour=pl.col("event_time").dt.hour(), is_large=pl.col("amount") > 100
    ).select(COLUMNS)


@lake_asset(contract=Features, ins={"source": dg.AssetIn(key_prefix="bench")}, partitions_def=DAILY,
            name="features", key_prefix="bench", code_version="1")  # fmt: skip
def features(source: pl.LazyFrame) -> pl.LazyFrame:
    return feature_rows(source)


def by_hand(root: Path) -> None:
    """One commit a day; no contract, hash, manifest, event or atomic range."""
    source, target = DeltaTable(str(root / SOURCE)), str(root / "by_hand")
    for day in DAYS:
        rows = feature_rows(pl.scan_delta(source).filter(pl.col("event_date") == date.fromisoformat(day))).collect()
        write_deltalake(target, rows, mode="overwrite", predicate=f"event_date = '{day}'", partition_by=["event_date"])


def backfill(root: Path, on: dg.DagsterInstance) -> None:
    """One range run of the lake asset, in this process."""
    location = dg.Definitions(
        assets=[features, dg.AssetSpec(["bench", "source"], partitions_def=DAILY)],
        resources={"lake": LakeIOManager(root=str(root))},
        jobs=[dg.define_asset_job("backfill", [features])],
    )
    days = {"dagster/asset_partition_range_start": DAYS[0], "dagster/asset_partition_range_end": DAYS[-1]}
    job = location.resolve_job_def("backfill")
    result = job.execute_in_process(instance=on, run_config=QUIET, tags=days)
    assert result.success


def measure(rows: int, folder: Path, repetitions: int, goal: float, *, ephemeral: bool) -> list[Row]:
    """Each repetition writes into a fresh copy of a lake that holds only the source."""
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-") as scratch:
        pristine, root = Path(scratch, "pristine"), Path(scratch, "lake")
        _write_source(Lake(str(pristine)), rows)

        def fresh() -> None:
            shutil.rmtree(root, ignore_errors=True)
            shutil.copytree(pristine, root, copy_function=os.link)

        os.environ["CONVERGENCE_HOME"] = scratch
        settings.cache_clear()
        with instance() as sqlite, dg.DagsterInstance.ephemeral() as memory:
            works = [lambda: by_hand(root), lambda: backfill(root, sqlite)]
            works += [lambda: backfill(root, memory)] if ephemeral else []
            reference, *ours = alternately(repetitions, *works, before=fresh)
        fresh()
        by_hand(root)
        with dg.DagsterInstance.ephemeral() as memory:
            backfill(root, memory)
        _require_same_rows(root)
    where = f"{rows // 1_000_000} M rows, {'memory (tmpfs)' if folder.is_relative_to('/dev/shm') else 'disk'}"
    names = ["SQLite instance", "ephemeral instance"]
    goals = [goal, None]
    return [compare(f"{where}, {n}", o, reference, g) for n, o, g in zip(names, ours, goals, strict=False)]


def section(*, quick: bool) -> Section:
    found = measure(1_000_000, Path(tempfile.gettempdir()), 3 if quick else 7, 1.15, ephemeral=True)
    if not quick:
        found += measure(10_000_000, roomiest(), 5, 0.9, ephemeral=False)
    return Section(
        "Backfill of 30 days",
        "Ours: one range run in process: `lake_asset` with a Pandera contract (unique key included), content hashes, "
        "manifests, one event and one check result per day, one atomic commit, on the project's own `dagster.yaml`. "
        "Reference: the same pure function, a Polars loop with `write_deltalake` (overwrite, defaults) for each day, "
        "without any of that. Both write into a fresh lake and end with the same rows (checked). The large table "
        "and its Dagster instance lie in memory where there is room, the small ones on the disk.",
        found,
    )


def _write_source(lake: Lake, rows: int) -> None:
    parts = by_day(transactions(rows))
    lake.replace(SOURCE, parts, build_manifest(parts, "replace", Provenance("source", "1")), None)


def _require_same_rows(root: Path) -> None:
    ours, by_hand = (
        pl.read_delta(str(root / table)).sort("transaction_id").select(COLUMNS) for table in (FEATURES, "by_hand")
    )
    assert ours.equals(by_hand), "the two backfills wrote different rows"
