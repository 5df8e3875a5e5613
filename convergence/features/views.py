"""Declarations of feature views. They hold no engine, so that every compiler and the catalogue read the same ones."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from datetime import timedelta
from typing import Literal, get_args

import narwhals as nw

from convergence.errors import ConvergenceError

Function = Literal["count", "sum", "mean", "std", "max", "seconds_since_first", "seconds_since_last"]

MICROSECOND = timedelta(microseconds=1)

_DAY = timedelta(days=1)
_LONGEST_REACH = timedelta(days=36_525)
_TIMES = ("event_time", "arrived_at")


@dataclass(frozen=True)
class Aggregate:
    """One feature: a function over the rows of an entity in `(event_time - delay - window, event_time - delay]`.

    `source` names the rows that are aggregated; empty means the view's own. `where` is a boolean column of that
    source: only rows where it is true count. `resolution` is the unit of `column` (0.01: cents): values are rounded
    to whole multiples of it, so that sums are exact and do not depend on the batch that computed them.

    Units: `sum`, `mean`, `std` (population) and `max` are in units of `column`, `seconds_since_first` and
    `seconds_since_last` in seconds from the earliest and latest other row. With no row in the window `count` and `sum`
    are 0, the others null.

    Raises:
        ConvergenceError: the declaration contradicts itself.
    """

    name: str
    _: KW_ONLY
    description: str
    entity: tuple[str, ...]
    function: Function
    window: timedelta
    column: str | None = None
    source: str = ""
    delay: timedelta = timedelta(0)
    where: str | None = None
    resolution: float = 1.0

    def __post_init__(self) -> None:
        subject = f"aggregate {self.name!r}"
        _require_description(subject, self.description)
        if self.function not in get_args(Function):
            raise ConvergenceError(
                f"{subject}: function {self.function!r} is unknown; expected one of {', '.join(get_args(Function))}"
            )
        if not isinstance(self.entity, tuple) or not self.entity:
            raise ConvergenceError(
                f"{subject}: entity is {self.entity!r}; expected a tuple of key columns such as ('customer_id',)"
            )
        if not isinstance(self.window, timedelta) or self.window <= timedelta(0):
            raise ConvergenceError(f"{subject}: window is {self.window!r}; expected a timedelta above 0")
        if not isinstance(self.delay, timedelta) or self.delay < timedelta(0):
            raise ConvergenceError(f"{subject}: delay is {self.delay!r}; expected a timedelta of at least 0")
        if self.window > _LONGEST_REACH or self.delay > _LONGEST_REACH:
            raise ConvergenceError(
                f"{subject}: window and delay must be finite (at most {_LONGEST_REACH.days} days each); "
                "an unbounded look-back has no finite list of partitions to read"
            )
        takes_column = self.function in ("sum", "mean", "std", "max")
        if takes_column and self.column is None:
            raise ConvergenceError(f"{subject}: {self.function} needs the column to aggregate; set `column`")
        if not takes_column and self.column is not None:
            raise ConvergenceError(
                f"{subject}: {self.function} takes no column, found {self.column!r}; select rows with `where`"
            )
        if not (math.isfinite(self.resolution) and self.resolution > 0):
            raise ConvergenceError(
                f"{subject}: resolution is {self.resolution!r}; expected the positive unit of the column, e.g. 0.01"
            )


@dataclass(frozen=True)
class RowExpression:
    """One feature computed within a row, from source columns, aggregates and earlier expressions.

    Raises:
        ConvergenceError: the description is empty or has several lines.
    """

    name: str
    expression: nw.Expr
    description: str

    def __post_init__(self) -> None:
        _require_description(f"expression {self.name!r}", self.description)


@dataclass(frozen=True)
class FeatureView:
    """Features of every row of `source`: `aggregates` first, then `expressions` in order.

    `sequence` is the column of every source that orders rows which arrived together; `keep` are source columns that
    pass through unchanged. The view names its own source in each aggregate that left `source` empty.

    Raises:
        ConvergenceError: a name is used twice, or is that of a time column.
    """

    name: str
    _: KW_ONLY
    description: str
    source: str
    sequence: str
    aggregates: tuple[Aggregate, ...]
    expressions: tuple[RowExpression, ...] = ()
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        subject = f"feature view {self.name!r}"
        _require_description(subject, self.description)
        resolved = tuple(replace(aggregate, source=aggregate.source or self.source) for aggregate in self.aggregates)
        object.__setattr__(self, "aggregates", resolved)
        counts = Counter((*_TIMES, *self.keep, *self.features))
        if repeated := [name for name, count in counts.items() if count > 1]:
            raise ConvergenceError(
                f"{subject}: column names must be unique, repeated: {', '.join(repeated)}; "
                f"{' and '.join(_TIMES)} are always kept"
            )

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the feature columns, in the order of the result."""
        return tuple(feature.name for feature in (*self.aggregates, *self.expressions))

    @property
    def descriptions(self) -> Mapping[str, str]:
        """One line for each feature column, in the order of the result."""
        return {feature.name: feature.description for feature in (*self.aggregates, *self.expressions)}

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the sources read, the view's own first."""
        return tuple(dict.fromkeys((self.source, *(aggregate.source for aggregate in self.aggregates))))

    def reach_back(self, source: str) -> tuple[int, int]:
        """First and last daily partition of `source` that one daily partition of this view reads.

        Returns:
            Offsets in days, both at most 0: (-30, 0) is the day itself and the 30 days before it.

        Raises:
            ConvergenceError: the view does not read `source`.
        """
        reads = [aggregate for aggregate in self.aggregates if aggregate.source == source]
        if source == self.source:
            first, last = [0], [0]
        elif reads:
            first, last = [], []
        else:
            raise ConvergenceError(
                f"feature view {self.name!r} does not read {source!r}; it reads {', '.join(self.sources)}"
            )
        # A window excludes its oldest edge and a day its last midnight: both are one tick inside.
        first += [(MICROSECOND - aggregate.delay - aggregate.window) // _DAY for aggregate in reads]
        last += [(_DAY - MICROSECOND - aggregate.delay) // _DAY for aggregate in reads]
        return min(first), max(last)


def _require_description(subject: str, description: str) -> None:
    if not description.strip() or "\n" in description:
        raise ConvergenceError(f"{subject}: expected a description of one line, found {description!r}")
