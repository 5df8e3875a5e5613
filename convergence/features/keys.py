"""Integer forms of times and entity keys, so that grouping and searching need integers only."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

from convergence.errors import ConvergenceError

Int64Array = npt.NDArray[np.int64]

# A code and a row position share one int64, so both must stay below these sizes.
_CODES = 2**31
_POSITION_BITS = 32
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NARROW_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32)


def microseconds(frame: pl.DataFrame, column: str) -> Int64Array:
    """Times of a column as microseconds since 1970-01-01 UTC, shape (rows,); naive times are taken as UTC.

    Raises:
        ConvergenceError: the column is not a Datetime in microseconds, or has nulls.
    """
    series = frame.get_column(column)
    if not isinstance(series.dtype, pl.Datetime) or series.dtype.time_unit != "us":
        raise ConvergenceError(f"column {column!r} is {series.dtype}; expected Datetime in microseconds, cast it first")
    if series.null_count():
        raise ConvergenceError(f"column {column!r} has {series.null_count()} nulls; every row needs a time")
    return series.to_physical().to_numpy()


def microseconds_of(time: datetime) -> int:
    """Microseconds from 1970 UTC to a time with a zone, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def time_of(microseconds: int) -> datetime:
    """The time, in UTC, so many microseconds after 1970 UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def entity_keys(frames: Sequence[pl.DataFrame], entity: Sequence[str]) -> list[pl.DataFrame]:
    """The key columns of each frame, integers of different widths brought to one type.

    Raises:
        ConvergenceError: a key column has types in two frames that cannot be compared.
    """
    keys = [frame.select(entity) for frame in frames]
    schemas = {tuple(frame.dtypes) for frame in keys}
    if len(schemas) == 1:
        return keys
    for types in zip(*schemas, strict=True):
        if len(set(types)) > 1 and not all(kind in _NARROW_INTEGERS for kind in types):
            raise ConvergenceError(
                f"key columns {', '.join(entity)} differ in type: {' and '.join(map(str, types))}; cast them to one"
            )
    return [frame.with_columns(pl.col(_NARROW_INTEGERS).cast(pl.Int64)) for frame in keys]


def entity_codes(frames: Sequence[pl.DataFrame], entity: Sequence[str]) -> list[Int64Array]:
    """Codes of the entity of each row, one array of shape (rows,) a frame.

    Two rows, also of different frames, have the same code if and only if all their key columns are equal. A row with
    a null in any key column belongs to no entity: its code is -1.

    Raises:
        ConvergenceError: a key column has types in two frames that cannot be compared.
    """
    keys = pl.concat(entity_keys(frames, entity))
    codes = np.zeros(len(keys), np.int64)
    known = np.ones(len(keys), np.bool_)
    size = 1
    for key in keys:
        values, width = _dense(key)
        codes = codes * width + values
        size *= width
        if size > _CODES:
            codes, size = _dense(pl.Series(codes))
        if key.null_count():
            known &= key.is_not_null().to_numpy()
    codes = codes if known.all() else np.where(known, codes, -1)
    return np.split(codes, np.cumsum([len(frame) for frame in frames])[:-1])


def grouped(codes: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Positions of the rows that have a code, by code and then in order, and the group of each.

    Group plus a number from 0 to the number of rows is a key that sorts by code first.
    """
    keys = (codes << _POSITION_BITS) | np.arange(len(codes))
    keys = keys[codes >= 0] if (codes < 0).any() else keys
    # One sort of integers is several times faster than a stable argsort of the codes.
    keys.sort()
    positions = keys & (2**_POSITION_BITS - 1)
    return positions, keys - positions


def _dense(values: pl.Series) -> tuple[Int64Array, int]:
    """Equal values to equal codes in [0, size); nulls to any code."""
    if values.dtype == pl.String:  # ranking them sorts them, which takes twenty times as long
        values = values.cast(pl.Categorical).to_physical()
    if values.dtype in _NARROW_INTEGERS and values.null_count() < len(values):
        low, high = int(values.min()), int(values.max())  # type: ignore[arg-type]
        if high - low < _CODES:
            return values.cast(pl.Int64).fill_null(low).to_numpy() - low, high - low + 1
    ranks = values.rank("dense").cast(pl.Int64).fill_null(1).to_numpy() - 1
    return ranks, int(ranks.max(initial=0)) + 1
