"""Row expressions of a view for a handful of rows, where a data frame engine would cost more than all the rest.

Narwhals expressions are lists of operations. Those that numpy computes to the same bit are run as such; a view with any
other is handed to Polars, the engine that computed what the model was trained on.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import numpy.typing as npt
import polars as pl

from convergence.features.views import FeatureView

Float64Array = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]  # times as int64 microseconds, other values as float64 with NaN for null
Operation = Callable[[Columns], npt.NDArray[Any]]

_HOUR = 3_600_000_000
_ARITHMETIC = {
    "__add__": operator.add,
    "__sub__": operator.sub,
    "__mul__": operator.mul,
    "__truediv__": operator.truediv,
}
_REFLECTED = {f"__r{name.strip('_')}__": function for name, function in _ARITHMETIC.items()}
_COMPARISONS = {f"__{name}__": getattr(operator, name) for name in ("lt", "le", "gt", "ge", "eq", "ne")}
_TIMES = {
    "dt.hour": lambda time: (time // _HOUR % 24).astype(np.float64),
    "dt.weekday": lambda time: ((time // (24 * _HOUR) + 3) % 7 + 1).astype(np.float64),  # 1970 began on a Thursday
}


class _NotCompiled(Exception):
    pass


class RowExpressions:
    """The expressions of a view, compiled; `schema` has the types of its source's columns.

    `inputs` are the source columns that they read. `compiled` is False where Polars evaluates them.
    """

    def __init__(self, view: FeatureView, schema: pl.Schema) -> None:
        self._view, self._schema = view, schema
        kinds = {name: _kind(kind) for name, kind in schema.items()} | {a.name: "number" for a in view.aggregates}
        self._operations: list[tuple[str, Operation]] = []
        read: set[str] = set()
        try:
            for row in view.expressions:
                operation, kind = _compile(row.expression, kinds, read)
                kinds[row.name] = kind
                self._operations.append((row.name, operation))
            self.compiled = True
        except (_NotCompiled, AttributeError):  # the operations of an expression are no public part of Narwhals
            self.compiled, read = False, set(schema)
        self.inputs = tuple(name for name in schema if name in read and name not in view.features)

    def evaluate(self, rows: Sequence[Mapping[str, Any]], aggregates: Mapping[str, Float64Array]) -> list[Float64Array]:
        """The value of each expression, each of shape (rows,); null is NaN.

        `rows` have times as integers of microseconds UTC; `aggregates` are those of the view.
        """
        if not self.compiled:
            return self._by_polars(rows, aggregates)
        columns: Columns = dict(aggregates)
        for name in self.inputs:
            values = [row.get(name) for row in rows]
            kind = np.int64 if isinstance(self._schema[name], pl.Datetime) else np.float64
            columns[name] = np.array(values, kind)
        with np.errstate(all="ignore"):
            for name, operation in self._operations:
                columns[name] = operation(columns)
        return [columns[row.name] for row in self._view.expressions]

    def _by_polars(
        self, rows: Sequence[Mapping[str, Any]], aggregates: Mapping[str, Float64Array]
    ) -> list[Float64Array]:
        columns = [pl.Series(n, [row.get(n) for row in rows], strict=False).cast(t) for n, t in self._schema.items()]
        counts = {a.name for a in self._view.aggregates if a.function == "count"}
        computed = [pl.Series(name, values, nan_to_null=True) for name, values in aggregates.items()]
        frame = pl.DataFrame([*columns, *(s.cast(pl.Int64) if s.name in counts else s for s in computed)])
        for row in self._view.expressions:
            frame = nw.from_native(frame).with_columns(row.expression.alias(row.name)).to_native()
        return [
            frame.get_column(row.name).cast(pl.Float64).fill_null(float("nan")).to_numpy()
            for row in self._view.expressions
        ]


def _kind(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return "time" if dtype.time_unit == "us" and dtype.time_zone in (None, "UTC") else "other"
    return "number" if dtype in (pl.Float64, pl.Int64) else "other"


def _compile(expression: Any, kinds: Mapping[str, str], read: set[str]) -> tuple[Operation, str]:
    """What computes an expression, and the kind of its result: number, quotient (perhaps NaN) or narrow integer."""
    first, *rest = expression._nodes
    names = first.kwargs.get("names", ())
    if first.name != "col" or len(names) != 1 or names[0] not in kinds:
        raise _NotCompiled
    (name,) = names
    read.add(name)
    operation, kind = _column(name), kinds[name]
    for node in rest:
        if node.name in _TIMES and kind == "time" and not node.exprs:
            operation, kind = _applied(_TIMES[node.name], operation), "narrow"
            continue
        function = _ARITHMETIC.get(node.name) or _REFLECTED.get(node.name) or _COMPARISONS.get(node.name)
        if function is None or len(node.exprs) != 1:
            raise _NotCompiled
        other, of = _operand(node.exprs[0], kinds, read)
        # Narrow integers wrap in Polars, and it orders NaN: neither is imitated here.
        if node.name in _COMPARISONS:
            allowed, result = {"number", "narrow"}, "narrow"
        else:
            allowed, result = {"number", "quotient"}, "quotient" if function is operator.truediv else "number"
        if not {kind, of} <= allowed:
            raise _NotCompiled
        result = "quotient" if "quotient" in (kind, of) else result
        pair = (other, operation) if node.name in _REFLECTED else (operation, other)
        operation, kind = (_compared if node.name in _COMPARISONS else _joined)(function, *pair), result
    return operation, kind


def _operand(value: Any, kinds: Mapping[str, str], read: set[str]) -> tuple[Operation, str]:
    if hasattr(value, "_nodes"):
        return _compile(value, kinds, read)
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise _NotCompiled
    return lambda _: np.float64(value), "number"  # pyright: ignore[reportReturnType]


def _column(name: str) -> Operation:
    return lambda columns: columns[name]


def _applied(function: Callable[[Any], Any], of: Operation) -> Operation:
    return lambda columns: function(of(columns))


def _joined(function: Callable[[Any, Any], Any], left: Operation, right: Operation) -> Operation:
    return lambda columns: function(left(columns), right(columns))


def _compared(function: Callable[[Any, Any], Any], left: Operation, right: Operation) -> Operation:
    def compare(columns: Columns) -> Float64Array:
        a, b = left(columns), right(columns)
        return np.where(np.isnan(a) | np.isnan(b), np.nan, function(a, b))

    return compare
