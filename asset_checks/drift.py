"""The drift check: a day whose rows say `drift` fails, one to be watched warns, and both say what to do next."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from convergence.lake.tables import DAY
from convergence.monitoring.contracts import VERDICTS
from convergence.monitoring.drift import DRIFT, STABLE, worst_first
from resources.keys import table_of
from resources.lake import failures

_SHOWN = 20


def drift_check(
    asset: dg.AssetsDefinition, *, name: str, columns: Sequence[str], next_step: str, feature: str = "feature"
) -> dg.AssetChecksDefinition:
    """A check on a table of verdicts: rows with `event_date`, `feature`, `effect`, `verdict` and `note`.

    `feature` is the column that names what was compared. Rows with other verdicts than ours say why nothing was: they
    neither fail nor count as compared.

    It does not block: the rows are right, it is what they speak of that has changed. A run over many days is judged by
    its newest day with rows, because what has passed needs nobody. `columns` are shown of each row that is not stable.
    """
    key = asset.key
    spec = dg.AssetCheckSpec(
        name,
        asset=key,
        description="The newest day shows no drift: effects are below their limits, or no more than chance.",
        partitions_def=asset.partitions_def,  # pyright: ignore[reportCallIssue]
    )

    @dg.multi_asset_check(specs=[spec], required_resource_keys={"lake"}, name=f"{key.path[-1]}_{name}")
    def check(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        keys = list(context.partition_keys)
        with failures():
            judged = context.resources.lake.lake.scan(table_of(key), keys).filter(pl.col("verdict").is_in(VERDICTS))
            rows: pl.DataFrame = judged.rename({feature: "feature"}).collect()
        found: dict[Any, pl.DataFrame] = {
            day: worst_first(part) for (day,), part in rows.partition_by(DAY, as_dict=True).items()
        }
        for day in map(date.fromisoformat, keys) if len(keys) > 1 else ():
            yield dg.AssetCheckEvaluation(
                asset_key=key, check_name=name, partition=str(day),
                **_judged(found.get(day, rows.head(0)), columns, next_step),
            )  # fmt: skip
        newest = found.get(max(found, default=None), rows.head(0))
        yield dg.AssetCheckResult(asset_key=key, check_name=name, **_judged(newest, columns, next_step))

    return check


def _judged(rows: pl.DataFrame, columns: Sequence[str], next_step: str) -> dict[str, Any]:
    """What a check says of one day, its rows the worst first."""
    unstable = rows.filter(pl.col("verdict") != STABLE)
    severe = unstable.filter(verdict=DRIFT)
    named = ", ".join((severe if severe.height else unstable)["feature"].unique(maintain_order=True).head(5))
    numbers = unstable.select(columns).head(_SHOWN).with_columns(pl.selectors.float().round(4))
    records = [dg.TableRecord({k: "" if v is None else v for k, v in r.items()}) for r in numbers.iter_rows(named=True)]
    return {
        "passed": unstable.is_empty(),
        "severity": dg.AssetCheckSeverity.ERROR if severe.height else dg.AssetCheckSeverity.WARN,
        "description": f"{'drift' if severe.height else 'to be watched'}: {named}. {next_step}" if records else None,
        "metadata": {
            "day": str(rows[DAY][0]) if rows.height else "no rows: nothing was compared",
            "compared": rows.height,
            "drifted": severe["feature"].n_unique(),
            **({"verdicts": dg.MetadataValue.table(records), "next_step": next_step} if records else {}),
        },
    }
