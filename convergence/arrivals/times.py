"""Times as files, Kafka and HTTP say them: one rule, so that the same words are the same instant wherever they arrive.

ISO 8601: a date, or a date and a time of day after `T` or a blank, with or without seconds and fraction; without a zone
it is UTC. A number is no time, for it does not say its unit. Nothing finer than a microsecond and no leap second: the
times of the lake have no room for them.
"""

import re
from collections import Counter
from datetime import UTC, datetime

import polars as pl

FORMS = "expected ISO 8601 (UTC where no zone is said), years 1 to 9999; no number, no leap second, nothing below 1 us"
TIME = pl.Datetime("us", "UTC")
CALENDAR = (-62_135_596_800_000_000, 253_402_300_800_000_000)  # us since 1970 of the years 1 to 9999, end excluded
_CLOCK, _ZONE = r"(?:[01]\d|2[0-3]):[0-5]\d", r"Z|[+-](?:[01]\d|2[0-3]):?[0-5]\d"
_ISO = re.compile(rf"(\d{{4}}-\d\d-\d\d)(?:([T ])({_CLOCK})(?::([0-5]\d)(?:\.(\d+))?)?({_ZONE})?)?", re.ASCII)
_LOOKS, _QUICK = 100, 3  # values that are looked at for the forms of a column, and forms that are read at once


def instant(text: str) -> datetime | None:
    """The time, in UTC, that a text says; None where it says none exactly."""
    if not (found := _ISO.fullmatch(text.strip())):
        return None
    day, _, minute, second, fraction, zone = found.groups(default="")
    if fraction[6:].strip("0"):
        return None
    written = f"{day}T{minute or '00:00'}:{second or '00'}.{fraction[:6]:0<6}{zone or 'Z'}"
    try:
        return datetime.fromisoformat(written).astimezone(UTC)
    except (ValueError, OverflowError):  # the calendar has no such day, or it lies outside in UTC
        return None


def instants(column: pl.Series) -> pl.Series:
    """Texts as TIME, each what `instant` makes of it. The usual forms of a column are read at once."""
    times = pl.Series(column.name, [None], TIME).new_from_index(0, len(column))
    looked = column.drop_nulls().gather_every(len(column) // _LOOKS | 1)
    forms = Counter(form for text in looked if (form := _form(text)))
    for (pattern, written), _ in forms.most_common(_QUICK):
        there = times.is_null() & column.str.contains(pattern)
        read = column if there.all() else column.filter(there)
        read = read.str.to_datetime(written, time_unit="us", time_zone="UTC", strict=False)
        times = read if len(read) == len(times) else times.scatter(there.arg_true(), read)
    times = times.set(~times.to_physical().is_between(*CALENDAR, closed="left"), None)
    rest = (times.is_null() & column.is_not_null()).arg_true()
    return times.scatter(rest, pl.Series([instant(text) for text in column.gather(rest)], dtype=TIME))


def _form(text: str) -> tuple[str, str] | None:
    """The pattern of all texts written like this one, and the format to read them with; None for rare forms."""
    found = _ISO.fullmatch(text)
    if not found or not found[4] or len(found[5] or "") > 6:
        return None
    _, between, _, _, fraction, zone = found.groups(default="")
    parts = rf"\.[0-9]{{{len(fraction)}}}" if fraction else "", "%.f" if fraction else ""
    zones = ("(" + _ZONE.removeprefix("Z|") + ")", "%z") if zone not in ("", "Z") else (zone, zone)
    pattern = rf"^\d{{4}}-\d\d-\d\d{between}{_CLOCK}:[0-5]\d".replace(r"\d", "[0-9]") + parts[0]
    return pattern + zones[0].replace(r"\d", "[0-9]") + "$", f"%Y-%m-%d{between}%H:%M:%S{parts[1]}{zones[1]}"
