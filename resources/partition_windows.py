"""Which upstream partitions one partition reads, for dated partitions of fixed length (daily, weekly; UTC).

Dagster answers the same question, but one partition at a time and in milliseconds; staleness asks it for every
partition of the graph. A test holds the two against each other.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import date

import dagster as dg

from convergence.lake.tables import WHOLE

Reads = Callable[[str], Sequence[str]]


def upstream_reads(
    mapping: dg.PartitionMapping | None,
    downstream: dg.PartitionsDefinition | None,
    upstream: dg.PartitionsDefinition | None,
) -> Reads:
    """A function from a downstream partition key to the keys that it reads of one upstream asset."""
    if upstream is None:
        return lambda _: [WHOLE]
    theirs = upstream.get_partition_keys()
    if downstream is None or isinstance(mapping, dg.AllPartitionMapping):
        return lambda _: theirs
    if mapping is not None and not isinstance(mapping, dg.TimeWindowPartitionMapping):
        raise dg.DagsterInvalidDefinitionError(
            f"{type(mapping).__name__} between lake assets: use TimeWindowPartitionMapping or AllPartitionMapping"
        )
    first, last = (mapping.start_offset, mapping.end_offset) if mapping else (0, 0)
    period, length = _days(downstream), _days(upstream)
    starts = [date.fromisoformat(k).toordinal() for k in theirs]
    slices: dict[str, slice] = {}
    for key in downstream.get_partition_keys():
        day = date.fromisoformat(key).toordinal()
        begin, end = day + first * period, day + (last + 1) * period
        slices[key] = slice(bisect_left(starts, begin - length + 1), bisect_left(starts, end))
    return lambda key: theirs[slices[key]]


def _days(definition: dg.PartitionsDefinition) -> int:
    if isinstance(definition, dg.TimeWindowPartitionsDefinition) and definition.timezone == "UTC":
        schedule = definition.cron_schedule.split()
        if schedule[:4] == ["0", "0", "*", "*"]:
            return 1 if schedule[4] == "*" else 7
    raise dg.DagsterInvalidDefinitionError(
        "lake assets have daily or weekly partitions in UTC: see convergence_assets/partitions.py"
    )
