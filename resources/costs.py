"""What materializations say that they took: read from Dagster's events, for the catalogue and for plans."""

from collections.abc import Iterable, Mapping

import dagster as dg

from convergence.lake.tables import WHOLE
from convergence.observability.usage import Usage

_MEASURED = (*Usage._fields, "bytes_written")


def measured(records: Iterable[dg.EventLogRecord]) -> dict[str, dict[str, float]]:
    """By partition the figures of the newest of these events that has any; the records come newest first."""
    took: dict[str, dict[str, float]] = {}
    for record in records:
        metadata = record.asset_materialization.metadata if record.asset_materialization else {}
        if "cpu_seconds" in metadata:
            figures = {name: float(metadata[name].value or 0) for name in _MEASURED if name in metadata}  # pyright: ignore[reportArgumentType]
            took.setdefault(record.partition_key or WHOLE, figures)
    return took


def usage_of(figures: Mapping[str, float]) -> Usage:
    """The work alone, without what it wrote."""
    return Usage(*(figures[name] for name in Usage._fields))


def usages(instance: dg.DagsterInstance, key: dg.AssetKey, partitions: int) -> dict[str, Usage]:
    """By partition what its newest materialization took. `partitions`: how many the asset has."""
    records = instance.fetch_materializations(key, limit=max(1, 2 * partitions)).records
    return {partition: usage_of(figures) for partition, figures in measured(records).items()}
