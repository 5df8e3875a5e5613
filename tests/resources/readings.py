"""Two weeks of readings and the tables made from them: the small graph that most tests of the lake in Dagster run."""

from collections.abc import Callable, Mapping, Sequence
from datetime import date

import dagster as dg
import pandera.polars as pa
import polars as pl
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from convergence.lake.manifests import PartitionState, states
from convergence.lake.tables import Lake
from resources.keys import table_of
from resources.lake import LakeIOManager, lake_asset

DAILY = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-15")
WEEKLY = dg.WeeklyPartitionsDefinition("2024-01-01", end_date="2024-01-15", day_offset=1)
DAYS = list(DAILY.get_partition_keys())
WEEKS = list(WEEKLY.get_partition_keys())

Values = dict[str, list[int]]  # day -> values of its rows


class Reading(pa.DataFrameModel):
    event_date: date
    value: int = pa.Field(ge=0, description="What was read")


def values_of(days: Sequence[str] = DAYS) -> Values:
    """Distinct rows for every day."""
    return {day: [10 * date.fromisoformat(day).day + n for n in range(3)] for day in days}


def frame_of(values: Mapping[str, Sequence[int]], days: Sequence[str] = DAYS) -> pl.DataFrame:
    rows = [(date.fromisoformat(day), value) for day in days for value in values.get(day, [])]
    return pl.DataFrame(rows, schema={"event_date": pl.Date, "value": pl.Int64}, orient="row")


def readings(values: Values, partitions_def: dg.PartitionsDefinition = DAILY) -> dg.AssetsDefinition:
    """The root: a table that holds `values` as they are when it is materialized."""

    @lake_asset(contract=Reading, partitions_def=partitions_def, code_version="1", tags={"layer": "dataset"})
    def readings(context: dg.AssetExecutionContext) -> pl.DataFrame:
        return frame_of(values, context.partition_keys)

    return readings


def made_from(
    source: dg.AssetsDefinition,
    name: str,
    mapping: dg.PartitionMapping | None = None,
    *,
    partitions_def: dg.PartitionsDefinition | None = DAILY,
    transform: Callable[[pl.LazyFrame], pl.LazyFrame] = lambda frame: frame,
    layer: str = "feature",
) -> dg.AssetsDefinition:
    """A table of the rows of `source` on the run's own partitions; a row of a week is named by the week's first day."""

    @lake_asset(
        name=name,
        contract=Reading,
        partitions_def=partitions_def,
        ins={"upstream": dg.AssetIn(source.key, partition_mapping=mapping)},
        code_version="1",
        tags={"layer": layer},
    )
    def made(context: dg.AssetExecutionContext, upstream: pl.LazyFrame) -> pl.LazyFrame:
        frame = transform(upstream)
        if partitions_def is None:
            return frame
        if partitions_def is WEEKLY:
            frame = frame.with_columns(pl.col("event_date").dt.truncate("1w"))
        return frame.filter(pl.col("event_date").is_in([date.fromisoformat(k) for k in context.partition_keys]))

    return made


def windowed(first: int, last: int = 0) -> dg.TimeWindowPartitionMapping:
    return dg.TimeWindowPartitionMapping(start_offset=first, end_offset=last)


def summed(
    source: dg.AssetsDefinition, first: int, partitions_def: dg.PartitionsDefinition = DAILY
) -> dg.AssetsDefinition:
    """One row per day: the sum of `source` over the day and the `-first` days before it."""

    @lake_asset(
        contract=Reading,
        partitions_def=partitions_def,
        ins={"upstream": dg.AssetIn(source.key, partition_mapping=windowed(first))},
        code_version="1",
        tags={"layer": "feature"},
    )
    def summed(context: dg.AssetExecutionContext, upstream: pl.LazyFrame) -> pl.DataFrame:
        rows = upstream.collect()
        sums = {
            key: [rows.filter(pl.col("event_date").is_between(day + pl.duration(days=first), day))["value"].sum()]
            for key in context.partition_keys
            for day in [pl.lit(date.fromisoformat(key))]
        }
        return frame_of(sums, context.partition_keys)

    return summed


def materialize(
    assets: Sequence[dg.AssetsDefinition],
    lake: Lake,
    instance: dg.DagsterInstance,
    *days: str,
    only: Sequence[dg.AssetsDefinition | dg.AssetChecksDefinition] | None = None,
    extra: Sequence[dg.AssetChecksDefinition] = (),
) -> dg.ExecuteInProcessResult:
    """One run: of a day, of a range (first and last day), or of what has no partitions."""
    return dg.materialize(
        [*assets, *extra],
        selection=None if only is None else list(only),
        partition_key=days[0] if len(days) == 1 else None,
        tags=range_tags(*days) if len(days) == 2 else None,
        resources={"lake": LakeIOManager(root=lake.root)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        instance=instance,
        raise_on_error=False,
    )


def range_tags(first: str, last: str) -> dict[str, str]:
    return {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}


def held(lake: Lake, asset: dg.AssetsDefinition) -> dict[str, PartitionState]:
    table = table_of(asset.key)
    return states(lake, [table])[table]


def hashes(lake: Lake, asset: dg.AssetsDefinition) -> dict[str, str]:
    return {key: state.content_hash for key, state in sorted(held(lake, asset).items())}


def stored(lake: Lake, asset: dg.AssetsDefinition) -> dict[str, list[int]]:
    """The values of each partition that has rows."""
    rows = lake.scan(table_of(asset.key)).sort("event_date", "value").collect()
    return {str(day): part["value"].to_list() for (day,), part in rows.partition_by("event_date", as_dict=True).items()}


def out_of_date(assets: Sequence[dg.AssetsDefinition], instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """What Dagster's UI marks as stale or missing: asset -> partitions ("" for an unpartitioned one)."""
    graph = dg.Definitions(assets=assets, resources={"lake": LakeIOManager(root="unused")}).resolve_asset_graph()
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    found = {
        asset.key.to_user_string(): [
            key or ""
            for key in (asset.partitions_def.get_partition_keys() if asset.partitions_def else [None])
            if resolver.get_status(asset.key, key).value != "FRESH"
        ]
        for asset in assets
    }
    return {name: keys for name, keys in found.items() if keys}
