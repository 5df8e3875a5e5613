"""Values as another type, exactly or not at all: nothing is rounded, cut or guessed, and nothing raises.

A number is exact in a float where the float is that number, or the shortest way to write the float is. A float is whole
where its neighbours can still be told from it.
"""

from collections.abc import Callable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow
from typing import Any

import polars as pl

from convergence.arrivals.evidence import plain
from convergence.arrivals.times import CALENDAR, instants

_DIGITS: Mapping[type[pl.DataType], int] = {pl.Float16: 11, pl.Float32: 24, pl.Float64: 53}  # bits of a mantissa
_DAY = 86_400_000_000  # us
_EXACT = Context(prec=400, traps=[Inexact, InvalidOperation, Overflow])
_Reader = Callable[[pl.Series, pl.DataType], pl.Series | None]


def exactly(column: pl.Series, kind: pl.DataType) -> pl.Series:
    """The column as `kind`; null where a value is none of `kind`, or is one only with a loss."""
    try:
        found = _read(column, kind)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):  # Polars knows no way from one to the other
        found = None
    if found is None:
        found = pl.Series([None], dtype=kind).new_from_index(0, len(column))
    return found.alias(column.name)


def _read(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    there = column.dtype
    if isinstance(there, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    elif there == pl.Binary and kind != pl.Binary:
        column = _utf8(column)
    if column.dtype == kind and not kind.is_temporal():
        return column
    reader = _READERS.get(kind.base_type())
    if reader is not None:
        return reader(column, kind)
    return column if column.dtype == kind else None


def _boolean(column: pl.Series, _: pl.DataType) -> pl.Series | None:
    if column.dtype == pl.String:
        words = {"true": True, "1": True, "false": False, "0": False}
        return column.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
    if column.dtype.is_numeric():
        return _where((column == 0) | (column == 1), column == 1)
    return None


def _whole(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    there = column.dtype
    if there.is_integer():
        return column.cast(kind, strict=False)
    if there.is_float():
        most = 2 ** _DIGITS[there.base_type()] - 1
        wide = column.cast(pl.Float64)
        return _where(wide.is_between(-most, most) & (wide == wide.floor()), wide).cast(kind, strict=False)
    if there.is_decimal():
        exact = [None if v is None or v != v.to_integral_value(context=_EXACT) else int(v) for v in column]
        return pl.Series(exact, dtype=pl.Int128).cast(kind, strict=False)
    if there == pl.String:
        return column.str.replace(r"^([+-]?[0-9]+)\.0+$", "$1").cast(kind, strict=False)
    return None


def _real(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    there = column.dtype
    if there.is_float():
        found = column.cast(kind)
        return _where(column.is_nan() | (found.cast(pl.Float64) == column.cast(pl.Float64)), found)
    if there.is_integer():
        found = column.cast(kind)
        back, wide = found.cast(pl.Int128, strict=False), column.cast(pl.Int128, strict=False)
        return _where(back == wide, found)
    if there.is_decimal():
        texts = pl.Series([None if value is None else str(value) for value in column], dtype=pl.String)
        return _without_lost(_nearest(texts, kind), texts, texts.is_not_null())
    if there == pl.String:
        found = _nearest(column, kind)
        large = found.abs() >= 2 ** _DIGITS[kind.base_type()]
        return _without_lost(found, column, large & column.str.contains(r"^[+-]?[0-9]+(\.0*)?$"))
    return None


def _nearest(texts: pl.Series, kind: pl.DataType) -> pl.Series:
    found = texts.cast(kind, strict=False)
    return _where(found.is_finite() | ~texts.str.contains("[0-9]"), found)


def _without_lost(found: pl.Series, texts: pl.Series, doubtful: pl.Series) -> pl.Series:
    """The floats; of the doubtful only those that are the number of their text, or are written like it."""
    places = doubtful.fill_null(False).arg_true()
    floats = found.gather(places)
    values = zip(texts.gather(places), floats.cast(pl.String), floats.cast(pl.Float64), strict=True)
    lost = [
        value is not None and Decimal(text) not in (Decimal(short), Decimal(value)) for text, short, value in values
    ]
    return found.scatter(places.filter(pl.Series(lost, dtype=pl.Boolean)), None) if any(lost) else found


def _decimal(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    if not (column.dtype.is_numeric() or column.dtype == pl.String) or not isinstance(kind, pl.Decimal):
        return None
    texts = column.cast(pl.String) if column.dtype.is_float() else column  # a float is the number that it is written as
    return pl.Series([_fitting(value, kind) for value in texts], dtype=kind)


def _fitting(value: Any, kind: pl.Decimal) -> Decimal | None:
    try:
        scaled = Decimal(value).scaleb(kind.scale, _EXACT) if value is not None else None
    except (ArithmeticError, ValueError):  # no number, or one with more digits than anything here has
        return None
    if scaled is None or not scaled.is_finite() or abs(scaled) >= 10 ** (kind.precision or 38):
        return None
    return Decimal(int(scaled)).scaleb(-kind.scale, _EXACT) if scaled == scaled.to_integral_value() else None


def _text(column: pl.Series, _: pl.DataType) -> pl.Series | None:
    there = column.dtype
    if there.is_numeric() or there == pl.Boolean:
        return column.cast(pl.String)
    if isinstance(there, pl.Date | pl.Datetime | pl.Time):
        return pl.Series([text if isinstance(text, str) else None for text in plain(column)], dtype=pl.String)
    return None


def _bytes(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    return column.cast(kind) if column.dtype == pl.String else None


def _named(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    return column.cast(kind, strict=False) if column.dtype == pl.String else None


def _date(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    if column.dtype == pl.String:
        column = _where(column.str.contains("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), column)
    elif not isinstance(column.dtype, pl.Date | pl.Datetime):
        return None
    since = _microseconds(column)
    return None if since is None else _where(since % _DAY == 0, since // _DAY).cast(pl.Int32).cast(kind)


def _time(column: pl.Series, kind: pl.DataType) -> pl.Series | None:
    since = _microseconds(column)
    if since is None or not isinstance(kind, pl.Datetime):
        return None
    if kind.time_unit == "ms":
        since = _where(since % 1_000 == 0, since // 1_000)
    elif kind.time_unit == "ns":
        since = _where(since.is_between(-(2**63) // 1_000 + 1, 2**63 // 1_000 - 1), since) * 1_000
    return since.cast(kind)


def _microseconds(column: pl.Series) -> pl.Series | None:
    """Since 1970 UTC, in the years 1 to 9999, which Python and JSON have words for."""
    there, since = column.dtype, column.to_physical()
    first, end = CALENDAR
    if isinstance(there, pl.Date):
        since = _where(since.is_between(first // _DAY, end // _DAY, closed="left"), since.cast(pl.Int64)) * _DAY
    elif isinstance(there, pl.Datetime):
        if there.time_unit == "ms":
            since = _where(since.is_between(first // 1_000, end // 1_000, closed="left"), since) * 1_000
        elif there.time_unit == "ns":
            since = _where(since % 1_000 == 0, since // 1_000)
    elif there == pl.String:
        since = instants(column).to_physical()
    else:
        return None
    return _where(since.is_between(first, end, closed="left"), since)


def _utf8(column: pl.Series) -> pl.Series:
    try:
        return column.cast(pl.String)
    except pl.exceptions.PolarsError:  # Polars tells of all or of none
        texts = [text if isinstance(text, str) else None for text in plain(column)]
        return pl.Series(column.name, texts, pl.String)


def _where(there: pl.Series, column: pl.Series) -> pl.Series:
    """The column, null where it is not `there`."""
    return column if there.all(ignore_nulls=False) else pl.select(pl.when(there).then(column)).to_series()


_READERS: Mapping[type[pl.DataType], _Reader] = {
    pl.Boolean: _boolean,
    **dict.fromkeys((pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.Int128), _whole),
    **dict.fromkeys((pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.UInt128), _whole),
    **dict.fromkeys((pl.Float16, pl.Float32, pl.Float64), _real),
    pl.Decimal: _decimal,
    pl.String: _text,
    pl.Binary: _bytes,
    **dict.fromkeys((pl.Categorical, pl.Enum), _named),
    pl.Date: _date,
    pl.Datetime: _time,
}
