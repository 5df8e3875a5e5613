"""Housekeeping of the lake as an asset: what is stored is held against what was written, then files are put in order.

A table that is damaged is left alone: an older version may still hold what `convergence repair` needs.
"""

import time
from datetime import timedelta

import dagster as dg
import polars as pl

from convergence.errors import ConcurrentWrite
from convergence.lake.inventory import tables
from convergence.lake.maintenance import WEEK, compact, vacuum
from convergence.lake.manifests import MANIFESTS
from convergence.lake.tables import Lake
from convergence.lake.verification import verify
from convergence.versions.reproduce import pins
from convergence_assets.governance.contracts import LakeUpkeep
from resources.failures import failures
from resources.lake import lake_asset

_NAMED = 20  # damages of a table that are told one by one
_SUMMED = ("files_before", "files_after", "files_deleted", "rows_verified", "damaged")


def keep_up(lake: Lake, retention: timedelta = WEEK) -> pl.DataFrame:
    """Verify every table, merge its small files, then delete those of versions that are older; LakeUpkeep rows.

    What a partition that counts was made from stays, however old: it can be reproduced.
    """
    rows, every = [], tables(lake)
    verified = {table: verify(lake, table) for table in every}
    whole = [table for table in every if not verified[table].damages]
    if MANIFESTS in every and MANIFESTS not in whole:
        whole = []  # what may go is not known
    pinned = pins(lake, (table for table in whole if table != MANIFESTS))
    for table in every:
        began, found, busy = time.perf_counter(), verified[table], False
        before = after = deleted = 0
        if table in whole:
            before = _files(lake, table)
            try:
                compact(lake, table)
            except ConcurrentWrite:
                busy = True
            deleted = len(vacuum(lake, table, pinned.get(table, ()), retention))
            after = _files(lake, table)
        said = "\n".join(map(str, found.damages[:_NAMED]))
        seconds = found.seconds + time.perf_counter() - began
        rows.append((table, before, after, deleted, seconds, busy, found.rows, len(found.damages), said))
    columns = [
        *("table", "files_before", "files_after", "files_deleted", "seconds", "left_for_next_time"),
        *("rows_verified", "damaged", "damages"),
    ]
    kinds = [pl.String, *[pl.Int64] * 3, pl.Float64, pl.Boolean, *[pl.Int64] * 2, pl.String]
    return pl.DataFrame(rows, schema=dict(zip(columns, kinds, strict=True)), orient="row")


def _files(lake: Lake, table: str) -> int:
    handle = lake.open(table)
    return len(handle.file_uris()) if handle else 0


def _totals(rows: pl.DataFrame) -> dict[str, int]:
    return {name: int(rows[name].sum()) for name in _SUMMED}


@lake_asset(
    contract=LakeUpkeep,
    describe=_totals,
    code_version="3",
    key_prefix="governance",
    group_name="governance",
    owners=["team:platform"],
    kinds={"python", "deltalake"},
    tags={"layer": "operations", "not_partitioned": "each-run-is-about-the-whole-lake"},
)
def lake_upkeep(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """Stored rows verified, small files merged, unneeded ones deleted; by table.

    Readers and landers may go on meanwhile. No row is touched, and nothing of a table that is damaged. Files of older
    versions go after a week, unless a partition that counts was made from them.
    """
    return keep_up(context.resources.lake.lake)


@dg.asset_check(
    asset=lake_upkeep,
    required_resource_keys={"lake"},
    description="What is stored is what was written: files by checksum, rows by content hash, log entries, manifests.",
)
def stored_as_written(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Fails with the first of what the last upkeep found damaged, by table, partition, version and file."""
    with failures():
        rows = context.resources.lake.lake.scan("governance/lake_upkeep").collect()
    damaged = rows.filter(pl.col("damaged") > 0)
    said = "\n".join(damaged["damages"]).splitlines()[:_NAMED]
    return dg.AssetCheckResult(
        passed=damaged.is_empty(),
        description="\n".join([*said, "Next: `convergence repair TABLE@PARTITION`"]) if said else None,
        metadata={
            "tables": rows.height,
            "rows": int(rows["rows_verified"].sum()),
            "damaged": int(damaged["damaged"].sum()),
        },
    )


upkeep_job = dg.define_asset_job("upkeep", selection=dg.AssetSelection.assets(lake_upkeep))
upkeep_every_night = dg.ScheduleDefinition(
    job=upkeep_job, cron_schedule="30 3 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)
