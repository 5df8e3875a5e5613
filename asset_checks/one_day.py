"""The check that an id lives on one day: a correction replaces what it corrects within its day, and no further.

It never blocks: each row keeps its contract, and which of them is right only the producer knows.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from convergence.lake.tables import DAY
from convergence.privacy.detection import masked
from resources.keys import table_of
from resources.lake import failures

_AT_MOST = 5  # examples
_NEXT_STEP = (
    "Whatever counts them counts them once a day. Find out at the producer which day is right; the other row counts "
    "until it is out of the topic and the tables are made anew: `convergence replay --from-beginning`"
)


def one_day_check(asset: dg.AssetsDefinition, *, key: str) -> dg.AssetChecksDefinition:
    """A check `one_day` on a daily table: no value of its column `key` stands on another day too, whichever that is."""
    table = table_of(asset.key)
    spec = dg.AssetCheckSpec(
        "one_day",
        asset=asset.key,
        description=f"No {key} of the day stands on another day too, as a correction that moves it over midnight does.",
        partitions_def=asset.partitions_def,  # pyright: ignore[reportCallIssue]
    )

    @dg.multi_asset_check(specs=[spec], required_resource_keys={"lake"}, name=f"{asset.key.path[-1]}_one_day")
    def one_day(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        days = list(context.partition_keys)
        with failures():
            found = on_several_days(context.resources.lake.lake.scan(table), key, days)
        for day in days if len(days) > 1 else ():
            mine = found.filter(pl.col("days").list.contains(date.fromisoformat(day)))
            yield dg.AssetCheckEvaluation(
                asset_key=asset.key, check_name="one_day", partition=day, **_verdict(mine, key)
            )
        yield dg.AssetCheckResult(asset_key=asset.key, check_name="one_day", **_verdict(found, key))

    return one_day


def on_several_days(rows: pl.LazyFrame, key: str, days: list[str]) -> pl.DataFrame:
    """The values of `key` on these days that stand on others too, with all their days: columns `key`, `days`."""
    rows = rows.select(DAY, key)
    asked = rows.filter(pl.col(DAY).is_in([date.fromisoformat(day) for day in days])).select(key).unique()
    on = rows.join(asked, on=key, how="semi").group_by(key).agg(days=pl.col(DAY).unique().sort())
    return on.filter(pl.col("days").list.len() > 1).sort(key).collect()


def _verdict(found: pl.DataFrame, key: str) -> dict[str, Any]:
    """What the check says of ids on several days: how many, the days, and examples that name nobody."""
    days = [str(day) for day in found["days"].explode().unique().sort()] if found.height else []
    examples = [masked(str(value)) for value in found[key].head(_AT_MOST)]
    return {
        "passed": not days,
        "severity": dg.AssetCheckSeverity.ERROR,
        "description": f"{found.height} {key} on several of the days {', '.join(days[:10])}"
        f"{' ...' if len(days) > 10 else ''}, such as {', '.join(examples)}. {_NEXT_STEP}"
        if days
        else None,
        "metadata": {"ids_on_several_days": found.height, **({"days": ", ".join(days)} if days else {})},
    }
