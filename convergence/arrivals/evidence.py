"""What was offered, in words that lose nothing: rows of files as JSON, so that they can be tried again, and reasons.

JSON has no word for some values. NaN and infinity become "NaN" and "Infinity", a time is ISO 8601 to its last digit,
a decimal is its digits; what is no text becomes an object, which no column takes for text: bytes that are no UTF-8.
"""

import json
import math
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from convergence.arrivals.times import CALENDAR

ESCAPED = "no UTF-8, escaped"  # of bytes in a row: their words can still be read, and searched for
NO_UTF8 = "no UTF-8, in hex"
KEY = "no value, of key: "  # how quarantine tells of a message that is a key alone; no JSON begins like it
_written = json.JSONEncoder(ensure_ascii=False).encode
_quoted = json.encoder.encode_basestring
_LONGEST = 80  # characters of a value that a reason repeats
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_1970 = datetime(1970, 1, 1, tzinfo=UTC)


def text_of(value: bytes) -> str:
    """The bytes as they came; what is no text is told in hex, for a text like it could be taken for a message."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return f"{NO_UTF8}: {value.hex()}"


def lines(rows: pl.DataFrame) -> list[str]:
    """Each row as a JSON object."""
    columns = [plain(column) for column in rows]
    return [_written(dict(zip(rows.columns, row, strict=True))) for row in zip(*columns, strict=True)]


def refusals(column: pl.Series, kind: pl.DataType) -> list[str]:
    """Why each value does not land as `kind`: column, type, and the value in quotation marks, its end cut off.

    Where the values are not text, the type that they came in is told too.
    """
    about = f"{column.name}: not a {kind}: {'' if column.dtype == pl.String else f'{column.dtype} '}"
    texts = (value if isinstance(value, str) else _written(value) for value in plain(column))
    return [about + _quoted(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…") for text in texts]


def without_values(reasons: pl.Series) -> pl.Series:
    """Reasons without the values that they repeat, to be counted and shown."""
    return reasons.str.replace_all(_QUOTED, "…")


def plain(column: pl.Series) -> list[Any]:
    """The values in types that JSON has, each still told from every other."""
    kind = column.dtype
    if isinstance(kind, pl.Struct):
        fields = [plain(column.struct.field(field.name)) for field in kind.fields]
        names = [field.name for field in kind.fields]
        parts: Iterable[Any] = zip(*fields) if fields else [()] * len(column)  # noqa: B905
        found = zip(column.is_null(), parts, strict=True)
        return [None if missing else dict(zip(names, part, strict=True)) for missing, part in found]
    if isinstance(kind, pl.List | pl.Array):
        return [None if part is None else plain(part) for part in column]
    if isinstance(kind, pl.Date | pl.Datetime | pl.Time | pl.Duration):
        return [None if count is None else _moment(count, kind) for count in column.to_physical()]
    if isinstance(kind, pl.Categorical | pl.Enum):
        return column.cast(pl.String).to_list()
    if kind.is_float():
        return [value if value is None or math.isfinite(value) else _UNCOUNTED[str(value)] for value in column]
    if kind == pl.Binary:
        return [None if value is None else _bytes(value) for value in column]
    if kind.is_decimal() or kind == pl.Object:
        return [None if value is None else str(value) for value in column]
    return column.to_list()


_UNCOUNTED = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def _bytes(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {ESCAPED: value.replace(b"\\", b"\\\\").decode(errors="backslashreplace")}


def _moment(count: int, kind: pl.Date | pl.Datetime | pl.Time | pl.Duration) -> str | dict[str, int]:
    """A physical value in ISO 8601; where the calendar does not reach, and of a duration, the count of its unit."""
    if isinstance(kind, pl.Duration):
        return {kind.time_unit: count}
    if isinstance(kind, pl.Date):
        inside = CALENDAR[0] <= count * 86_400_000_000 < CALENDAR[1]
        return (date(1970, 1, 1) + timedelta(days=count)).isoformat() if inside else {"days since 1970": count}
    per_second = _PER_SECOND[kind.time_unit] if isinstance(kind, pl.Datetime) else 10**9
    seconds, rest = divmod(count, per_second)
    fraction = f".{rest:0{len(str(per_second)) - 1}}" if rest else ""
    if isinstance(kind, pl.Time):
        return time(seconds // 3600, seconds // 60 % 60, seconds % 60).isoformat() + fraction
    if not CALENDAR[0] <= seconds * 10**6 < CALENDAR[1]:
        return {f"{kind.time_unit} since 1970": count}
    at = (_1970 + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()
    return f"{at}{fraction}{'Z' if kind.time_zone else ''}"
