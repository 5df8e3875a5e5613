"""Housekeeping of the lake as an asset: small files are merged, and those that nothing needs any more are deleted."""

import time
from datetime import timedelta

import dagster as dg
import polars as pl

from convergence.errors import ConcurrentWrite
from convergence.lake.inventory import tables
from convergence.lake.maintenance import WEEK, compact, vacuum
from convergence.lake.manifests import MANIFESTS
from convergence.lake.tables import Lake
from convergence.versions.reproduce import pins
from convergence_assets.governance.contracts import LakeUpkeep
from resources.lake import lake_asset


def keep_up(lake: Lake, retention: timedelta = WEEK) -> pl.DataFrame:
    """Merge the small files of every table, then delete those of versions that are older; LakeUpkeep rows.

    What a partition that counts was made from stays, however old: it can be reproduced.
    """
    rows, every = [], tables(lake)
    pinned = pins(lake, (table for table in every if table != MANIFESTS))
    for table in every:
        began, before, busy = time.perf_counter(), _files(lake, table), False
        try:
            compact(lake, table)
        except ConcurrentWrite:
            busy = True
        deleted = len(vacuum(lake, table, pinned.get(table, ()), retention))
        rows.append((table, before, _files(lake, table), deleted, time.perf_counter() - began, busy))
    columns = ["table", "files_before", "files_after", "files_deleted", "seconds", "left_for_next_time"]
    kinds = [pl.String, pl.Int64, pl.Int64, pl.Int64, pl.Float64, pl.Boolean]
    return pl.DataFrame(rows, schema=dict(zip(columns, kinds, strict=True)), orient="row")


def _files(lake: Lake, table: str) -> int:
    handle = lake.open(table)
    return len(handle.file_uris()) if handle else 0


def _totals(rows: pl.DataFrame) -> dict[str, int]:
    return {name: int(rows[name].sum()) for name in ("files_before", "files_after", "files_deleted")}


@lake_asset(
    contract=LakeUpkeep,
    describe=_totals,
    code_version="2",
    key_prefix="governance",
    group_name="governance",
    owners=["team:platform"],
    kinds={"python", "deltalake"},
    tags={"layer": "operations", "not_partitioned": "each-run-is-about-the-whole-lake"},
)
def lake_upkeep(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """Small files merged and unneeded ones deleted, table by table.

    Readers and landers may go on meanwhile. No row is touched. Files of older versions go after a week, unless a
    partition that counts was made from them.
    """
    return keep_up(context.resources.lake.lake)


upkeep_job = dg.define_asset_job("upkeep", selection=dg.AssetSelection.assets(lake_upkeep))
upkeep_every_night = dg.ScheduleDefinition(
    job=upkeep_job, cron_schedule="30 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)
