"""Housekeeping of the lake as an asset: small files are merged, and what that brought is on record."""

import time

import dagster as dg
import polars as pl

from convergence.errors import ConcurrentWrite
from convergence.lake.inventory import tables
from convergence.lake.maintenance import compact
from convergence.lake.tables import Lake
from convergence_assets.governance.contracts import LakeUpkeep
from resources.lake import lake_asset


def merge_small_files(lake: Lake) -> pl.DataFrame:
    """Merge the small files of every table; LakeUpkeep rows."""
    rows = []
    for table in tables(lake):
        began, before, busy = time.perf_counter(), _files(lake, table), False
        try:
            compact(lake, table)
        except ConcurrentWrite:
            busy = True
        rows.append((table, before, _files(lake, table), time.perf_counter() - began, busy))
    columns = ["table", "files_before", "files_after", "seconds", "left_for_next_time"]
    kinds = [pl.String, pl.Int64, pl.Int64, pl.Float64, pl.Boolean]
    return pl.DataFrame(rows, schema=dict(zip(columns, kinds, strict=True)), orient="row")


def _files(lake: Lake, table: str) -> int:
    handle = lake.open(table)
    return len(handle.file_uris()) if handle else 0


def _totals(rows: pl.DataFrame) -> dict[str, int]:
    return {"files_before": int(rows["files_before"].sum()), "files_after": int(rows["files_after"].sum())}


@lake_asset(
    contract=LakeUpkeep,
    describe=_totals,
    code_version="1",
    key_prefix="governance",
    group_name="governance",
    owners=["team:platform"],
    kinds={"python", "deltalake"},
    tags={"layer": "operations", "not_partitioned": "each-run-is-about-the-whole-lake"},
)
def lake_upkeep(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """Small files merged, table by table.

    Readers and landers may go on meanwhile. No row and no version is touched: nothing is vacuumed.
    """
    return merge_small_files(context.resources.lake.lake)


upkeep_job = dg.define_asset_job("upkeep", selection=dg.AssetSelection.assets(lake_upkeep))
upkeep_every_night = dg.ScheduleDefinition(
    job=upkeep_job, cron_schedule="30 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)
