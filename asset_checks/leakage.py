"""The leakage check: a sample of each day's feature rows must be what their own past gives."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
import polars as pl

from convergence.features.leakage import KINDS, Compute, find_leaks
from convergence.features.views import FeatureView
from convergence.lake.tables import DAY
from resources.keys import table_of
from resources.lake import failures

_ROWS_PER_DAY = 3
_ROWS_AT_LEAST = 20  # of a run over few days


def leakage_check(
    asset: dg.AssetsDefinition, view: FeatureView, compute: Compute, *, sources: Mapping[str, str]
) -> dg.AssetChecksDefinition:
    """A blocking check `leakage` on a feature table. `sources`: table -> the column that says when a row was known."""
    key = asset.key
    spec = dg.AssetCheckSpec(
        "leakage",
        asset=key,
        blocking=True,
        description="A sample of rows is computed again with the future removed and must not change.",
        partitions_def=asset.partitions_def,  # pyright: ignore[reportCallIssue]
    )

    @dg.multi_asset_check(specs=[spec], required_resource_keys={"lake"}, name=f"{key.path[-1]}_leakage")
    def leakage(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        keys = list(context.partition_keys)
        lake = context.resources.lake.lake
        with failures():
            stored = lake.scan(table_of(key), keys).collect()
            frames = {
                s: _history(lake.scan(table_of(dg.AssetKey([*key.path[:-1], s]))), view.reach_back(s), keys)
                for s in sources
            }
            sample = _sample(stored, max(_ROWS_PER_DAY, _ROWS_AT_LEAST // len(keys)))
            leaks = find_leaks(sample, view, compute, frames, sources)
        looked_at = dict(sample.group_by(DAY).len().iter_rows())
        day_of = dict(sample.select(view.sequence, DAY).iter_rows())
        leaking = {day_of[leak.row] for leak in leaks}
        for day in map(date.fromisoformat, keys) if len(keys) > 1 else ():
            yield dg.AssetCheckEvaluation(
                asset_key=key, check_name="leakage", passed=day not in leaking, blocking=True, partition=str(day),
                metadata={"rows_recomputed": looked_at.get(day, 0)},
            )  # fmt: skip
        named = Counter((leak.feature, leak.kind) for leak in leaks)
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="leakage",
            passed=not leaks,
            description="; ".join(f"{f}: {kind} leak in {n} rows, it {KINDS[kind]}" for (f, kind), n in named.items())
            or None,
            metadata={"rows_recomputed": sample.height, "leaking_features": len({f for f, _ in named})},
        )

    return leakage


def _sample(stored: pl.DataFrame, rows_per_day: int) -> pl.DataFrame:
    """The same rows of a day whenever it is asked, drawn by the day's own seed."""
    parts = [
        part[sorted(random.Random(str(day)).sample(range(part.height), min(rows_per_day, part.height)))]
        for (day,), part in stored.partition_by(DAY, as_dict=True).items()
    ]
    return pl.concat(parts) if parts else stored.head(0)


def _history(frame: pl.LazyFrame, reach_back: tuple[int, int], keys: list[str]) -> pl.DataFrame:
    """What the days read, and one more day of future that they must not have read."""
    first, last = date.fromisoformat(min(keys)), date.fromisoformat(max(keys))
    return frame.filter(
        pl.col(DAY).is_between(first + timedelta(days=reach_back[0]), last + timedelta(days=1))
    ).collect()
