"""Arithmetic of the windowed aggregates.

Columns are summed as integers, in whole units of the aggregate's resolution: float sums would depend on the order and
the start of the batch.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.keys import Int64Array
from convergence.features.views import MICROSECOND, Aggregate
from convergence.features.window_index import NOTHING, BoolArray, Window, WindowIndex

Float64Array = npt.NDArray[np.float64]

_INT64_LIMIT = 2**63


def aggregated(aggregates: Sequence[Aggregate], frame: pl.DataFrame, index: WindowIndex) -> list[pl.Series]:
    """The given aggregates of one entity over one source, each with one value a query of the index's timeline.

    Args:
        aggregates: all have the entity and source of the index.
        frame: the rows of the index's timeline, in its order.
        index: finds the windows.

    Raises:
        ConvergenceError: values are not finite, or their sums could exceed an int64.
    """

    # Aggregates mostly differ in one part only, so each part is computed once.
    @cache
    def selected(where: str | None, column: str | None) -> BoolArray:
        rows = pl.repeat(True, pl.len()) if where is None else pl.col(where).fill_null(False)
        rows = rows if column is None else rows & pl.col(column).is_not_null()
        return frame.select(rows).to_series().to_numpy()[index.order]

    @cache
    def units(column: str, unit: Fraction) -> tuple[Int64Array, int]:
        values = whole_units(frame.get_column(column), unit)[index.order]
        return values, max(int(values.max(initial=0)), -int(values.min(initial=0)))

    @cache
    def weights(where: str | None, column: str | None, unit: Fraction, power: int) -> list[Int64Array]:
        values = selected(where, column).astype(np.int64)
        if column is not None and power:
            values *= units(column, unit)[0] ** power
        return index.running_sums(values)

    @cache
    def total(where: str | None, column: str | None, unit: Fraction, power: int, window: Window) -> Int64Array:
        if where is None and not power and (column is None or not frame.get_column(column).null_count()):
            return window.rows()
        return window.total(weights(where, column, unit, power))

    def values_of(a: Aggregate) -> Int64Array | Float64Array:
        window, unit = index.window(a.window // MICROSECOND, a.delay // MICROSECOND), Fraction(str(a.resolution))
        if a.function == "seconds_since_last":
            return index.seconds_since(window.latest(index.running_last(selected(a.where, None))))
        if a.function == "seconds_since_first":
            return index.seconds_since(window.earliest(index.running_next(selected(a.where, None))))
        count = total(a.where, a.column, unit, 0, window)
        if a.column is None:
            return count
        largest, most, power = units(a.column, unit)[1], int(count.max(initial=0)), 2 if a.function == "std" else 1
        # One more than the largest value leaves room for the remainders of `standard_deviation`.
        if (largest + 1) ** power * most >= _INT64_LIMIT:
            raise ConvergenceError(
                f"aggregate {a.name!r}: {a.function} of {most} rows with up to {largest} units of {a.resolution} in "
                f"{a.column!r} could exceed exact 64-bit arithmetic; declare a coarser resolution"
            )
        if a.function == "max":
            values = np.where(selected(a.where, a.column), units(a.column, unit)[0], NOTHING)
            largest_units = window.largest(values)
            return np.where(count > 0, largest_units * float(unit.numerator) / unit.denominator, np.nan)
        sums = total(a.where, a.column, unit, 1, window)
        scaled = sums if unit.numerator == 1 else sums * float(unit.numerator)
        with np.errstate(divide="ignore", invalid="ignore"):
            if a.function == "sum":
                return scaled / unit.denominator
            if a.function == "mean":
                return scaled / (count * unit.denominator)
            return standard_deviation(count, sums, total(a.where, a.column, unit, 2, window)) * float(unit)

    features: list[pl.Series] = []
    for a in aggregates:
        values = values_of(a)
        feature = np.empty(len(index.timeline.query_time), values.dtype)
        if len(values) < len(feature):  # rows without an entity
            feature.fill(0 if a.function in ("count", "sum") else np.nan)
        feature[index.queries] = values
        features.append(pl.Series(a.name, feature, nan_to_null=True))
    return features


def whole_units(values: pl.Series, unit: Fraction) -> Int64Array:
    """Values as whole multiples of the unit, shape (rows,); nulls as 0."""
    if values.dtype.is_integer() and unit == 1:
        return values.fill_null(0).cast(pl.Int64).to_numpy()
    numbers = values.cast(pl.Float64).fill_null(0).to_numpy()
    whole = np.rint(numbers * unit.denominator / unit.numerator)
    # Written so that NaN fails it too.
    if not (np.abs(whole) < _INT64_LIMIT).all():
        raise ConvergenceError(
            f"column {values.name!r} has values that are not finite or do not fit 64 bits in units of {float(unit)}; "
            "make them null, or declare a coarser resolution"
        )
    return whole.astype(np.int64)


def standard_deviation(count: Int64Array, total: Int64Array, squares: Int64Array) -> Float64Array:
    """Population standard deviation from exact sums of x and x * x; NaN where count is 0.

    Values are shifted by the whole part of their mean first: int64 may wrap on the way and still ends exact, where
    the difference of two large squares would lose its digits in floating point.
    """
    divisor = np.maximum(count, 1)
    shift = total // divisor
    remainder = total - shift * divisor
    squares = squares - 2 * shift * total + divisor * shift * shift
    return np.sqrt((squares - remainder * (remainder / divisor)) / count)
