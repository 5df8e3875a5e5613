"""Partitions definitions and the windows between them. Every date is UTC; a partition is named by its first day."""

from datetime import date, timedelta

import dagster as dg


def daily(first: date, last: date | None = None) -> dg.DailyPartitionsDefinition:
    """One partition per day, through `last` for a finished history, through today for a live stream."""
    if last is None:
        return dg.DailyPartitionsDefinition(str(first), end_offset=1)
    return dg.DailyPartitionsDefinition(str(first), end_date=str(last + timedelta(days=1)))


def weekly(first: date, last: date) -> dg.WeeklyPartitionsDefinition:
    """One partition per week, named by as-of dates `first`, `first` + 7 days, ... up to `last`."""
    return dg.WeeklyPartitionsDefinition(
        str(first), end_date=str(last + timedelta(days=7)), day_offset=first.isoweekday() % 7
    )


def window(first: int, last: int = 0) -> dg.TimeWindowPartitionMapping:
    """Reads from `first` to `last` (both <= 0) of its own periods back, e.g. window(-30) on days: d-30 to d."""
    return dg.TimeWindowPartitionMapping(start_offset=first, end_offset=last)


def dates(context: dg.AssetExecutionContext) -> list[date]:
    """The days, or as-of dates, of a run."""
    return [date.fromisoformat(key) for key in context.partition_keys]
