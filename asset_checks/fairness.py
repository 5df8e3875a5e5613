"""The fairness check: gaps between groups of people that exceed their limits, each with what follows from it."""

from collections.abc import Set
from typing import Any

import dagster as dg
import polars as pl

from convergence.models.fairness import EXCEEDED, GAP, WITHIN
from resources.keys import table_of
from resources.lake import failures


def fairness_check(asset: dg.AssetsDefinition, *, faults: Set[str], next_step: str) -> dg.AssetChecksDefinition:
    """A check `fairness` on an unpartitioned table of `convergence.models.fairness.SCHEMA` rows.

    A gap whose whole interval exceeds its limit fails with ERROR where its measure is among `faults` (the model itself
    is worse for a group), and with WARN otherwise (people decide whether the difference is wanted); one whose interval
    only reaches beyond the limit warns.
    """
    key = asset.key

    @dg.asset_check(
        asset=asset,
        name="fairness",
        required_resource_keys={"lake"},
        description="Gaps between groups of people are within their limits, intervals considered.",
    )
    def fairness(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        with failures():
            rows: pl.DataFrame = context.resources.lake.lake.scan(table_of(key)).collect()
        return judged(rows, faults, next_step)

    return fairness


def judged(rows: pl.DataFrame, faults: Set[str], next_step: str) -> dg.AssetCheckResult:
    """What the check says of the rows. No row fails: nothing was compared."""
    gaps = rows.filter(pl.col("group") == GAP)
    open_ones = gaps.filter(pl.col("verdict") != WITHIN)
    fault = open_ones.filter(pl.col("verdict") == EXCEEDED, pl.col("measure").is_in(sorted(faults)))
    severe = fault.height > 0 or gaps.is_empty()
    said = [
        f"{row['measure']} differs by {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] between groups of "
        f"{row['attribute']}, limit {row['limit']:g}: {row['verdict']}"
        for row in open_ones.iter_rows(named=True)
    ]
    numbers = rows.with_columns(pl.selectors.float().round(4))
    records: list[dict[str, Any]] = [
        {k: "" if v is None else v for k, v in row.items()} for row in numbers.iter_rows(named=True)
    ]
    return dg.AssetCheckResult(
        passed=not said and not severe,
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description="\n".join([*said, next_step]) if said else "nothing was compared" if severe else None,
        metadata={
            "gaps": gaps.height,
            "exceeded": gaps.filter(pl.col("verdict") == EXCEEDED).height,
            **({"groups": dg.MetadataValue.table([dg.TableRecord(r) for r in records])} if records else {}),
        },
    )
