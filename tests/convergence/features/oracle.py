"""The definitions of the operators as plain loops over rows: slow, and too obvious to be wrong."""

from datetime import UTC, datetime
from fractions import Fraction
from math import sqrt
from typing import Any

from convergence.features.views import Aggregate, FeatureView

Row = dict[str, Any]


def features(view: FeatureView, rows: dict[str, list[Row]], start: datetime, end: datetime) -> list[Row]:
    spine = sorted(rows[view.source], key=lambda r: (r["event_time"], r[view.sequence], r["arrived_at"]))
    return [
        {
            **{column: row[column] for column in (*view.keep, "event_time", "arrived_at")},
            **{a.name: aggregate(a, view, row, rows[a.source]) for a in view.aggregates},
        }
        for row in spine
        if start <= utc(row["event_time"]) < end
    ]


def aggregate(a: Aggregate, view: FeatureView, row: Row, source: list[Row]) -> float | int | None:
    seen = [other for other in source if sees(a, view, row, other)]
    if a.where is not None:
        seen = [other for other in seen if other[a.where]]
    if a.column is not None:
        seen = [other for other in seen if other[a.column] is not None]
    if a.function == "count":
        return len(seen)
    if a.function == "seconds_since_last":
        times = [utc(other["event_time"]) for other in seen if other is not row]
        return (utc(row["event_time"]) - max(times)).total_seconds() if times else None
    if a.function == "seconds_since_first":
        times = [utc(other["event_time"]) for other in seen if other is not row]
        return (utc(row["event_time"]) - min(times)).total_seconds() if times else None
    column = str(a.column)
    unit = Fraction(str(a.resolution))
    values = [round(Fraction(str(other[column])) / unit) * unit for other in seen]
    if a.function == "sum":
        return float(sum(values, Fraction(0)))
    if not values:
        return None
    if a.function == "max":
        return float(max(values))
    mean = sum(values, Fraction(0)) / len(values)
    if a.function == "mean":
        return float(mean)
    return sqrt(sum((value - mean) ** 2 for value in values) / len(values))


def sees(a: Aggregate, view: FeatureView, row: Row, other: Row) -> bool:
    if any(row[column] is None or row[column] != other[column] for column in a.entity):
        return False
    newest = utc(row["event_time"]) - a.delay
    if not newest - a.window < utc(other["event_time"]) <= newest:
        return False
    if a.source != view.source:
        return utc(other["arrived_at"]) <= utc(row["arrived_at"])
    return (other["arrived_at"], other[view.sequence]) <= (row["arrived_at"], row[view.sequence])


def last_known_fact(row: Row, facts: list[Row], by: tuple[str, ...], sequence: str) -> Row | None:
    known = [
        fact
        for fact in facts
        if all(row[column] is not None and row[column] == fact[column] for column in by)
        and utc(fact["event_time"]) <= utc(row["event_time"])
        and utc(fact["arrived_at"]) <= utc(row["arrived_at"])
    ]
    return max(known, key=lambda fact: (fact["event_time"], fact[sequence], fact["arrived_at"]), default=None)


def utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
