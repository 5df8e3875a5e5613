"""The features of a view for a few rows at a time, from the states of their entities.

The same declaration, the same integer arithmetic and the same order of operations as `windows.compute`, so that what is
served equals what was trained on bit for bit; written for one row, where the machinery for millions would dominate.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.aggregates import standard_deviation
from convergence.features.keys import Int64Array
from convergence.features.online_expressions import RowExpressions
from convergence.features.online_state import DAY, Entity, EntityState, Key, StateLayout, key_number
from convergence.features.views import MICROSECOND, Aggregate, FeatureView
from convergence.features.window_index import NOTHING

Row = Mapping[str, Any]  # a row of the view's source; event_time and arrived_at in microseconds since 1970 UTC
States = Mapping[tuple[Entity, Key], EntityState]

_MISSING = float("nan")
_LARGEST_UNITS = 2**62


class OnlineView:
    """A feature view that is computed from states; `schemas` has the types of the columns of its sources.

    Raises:
        ConvergenceError: the view cannot be served online, and why.
    """

    def __init__(self, view: FeatureView, schemas: Mapping[str, pl.Schema]) -> None:
        self.view, self.schemas = view, dict(schemas)
        self.layout = StateLayout(view, schemas)
        self.expressions = RowExpressions(view, schemas[view.source])
        groups: dict[tuple[str, Entity], list[tuple[int, Aggregate]]] = {}
        for number, aggregate in enumerate(view.aggregates):
            groups.setdefault((aggregate.source, aggregate.entity), []).append((number, aggregate))
        self._groups = [_Group(self.layout, *group, members) for group, members in groups.items()]
        read = [column for a in view.aggregates for column in (*a.entity, *_own_columns(a, view))]
        read += ["event_time", "arrived_at", view.sequence, *self.expressions.inputs]
        self.inputs = tuple(dict.fromkeys(read))  # columns of the source that a row must bring

    def keys(self, row: Row) -> list[tuple[Entity, Key]]:
        """The entities whose states a row needs; one with a null in its key is none."""
        keys = ((entity, tuple(row[column] for column in entity)) for entity in self.layout.entities)
        return [(entity, key) for entity, key in keys if None not in key]

    def vectors(self, rows: Sequence[Row], states: States) -> npt.NDArray[np.float64]:
        """The features of rows as of their own arrival, shape (rows, features), in the view's order; null is NaN.

        An entity that `states` does not have is new: the row itself is all that is known of it. A row takes the place
        of a version of itself that a state may already hold.
        """
        aggregates = np.empty((len(self.view.aggregates), len(rows)))
        for position, row in enumerate(rows):
            for group in self._groups:
                group.compute(row, states, aggregates[:, position])
        named = {a.name: values for a, values in zip(self.view.aggregates, aggregates, strict=True)}
        return np.vstack((aggregates, *self.expressions.evaluate(rows, named))).T


def _own_columns(aggregate: Aggregate, view: FeatureView) -> list[str]:
    """Columns of the row itself that count in its own window."""
    inside = aggregate.source == view.source and not aggregate.delay
    return [c for c in (aggregate.column, aggregate.where) if c is not None] if inside else []


class _Group:
    """The aggregates of one entity over one source."""

    def __init__(
        self, layout: StateLayout, source: str, entity: Entity, members: Sequence[tuple[int, Aggregate]]
    ) -> None:
        self.source, self.entity = source, entity
        self.own = source == layout.view.source
        self.sequence = layout.view.sequence
        self.holder = layout.holder[entity]
        columns = layout.columns[self.holder, source]
        self.narrowing = [(columns.index(c), c) for c in entity if c not in self.holder]
        offsets = sorted({o // MICROSECOND for _, a in members for o in (a.delay, a.delay + a.window)})
        self.offsets = np.array(offsets, np.int64)
        self.members = [
            _Member(
                number,
                a,
                Fraction(str(a.resolution)),
                offsets.index((a.delay + a.window) // MICROSECOND),
                offsets.index(a.delay // MICROSECOND),
                None if a.column is None else columns.index(f"{a.column}|{a.resolution}"),
                None if a.where is None else columns.index(a.where),
            )
            for number, a in members
        ]

    def compute(self, row: Row, states: States, into: npt.NDArray[np.float64]) -> None:
        """The aggregates of one row, each written to its own place."""
        if any(row[column] is None for column in self.entity):
            for member in self.members:
                into[member.number] = member.finished(0, 0, None, None)
            return
        state = states.get((self.holder, tuple(row[column] for column in self.holder)))
        rows = self._visible(row, state.rows[self.source]) if state and self.source in state.rows else None
        edges = rows[0].searchsorted(row["event_time"] - self.offsets, "right").tolist() if rows is not None else None
        sums: dict[Any, Any] = {}
        for member in self.members:
            into[member.number] = member.value(row, rows, edges, sums, own=self.own)

    def _visible(self, row: Row, rows: Int64Array) -> Int64Array | None:
        """The rows that had arrived by then, of this very entity, and not the row itself."""
        time, arrived, number = rows[0], rows[1], rows[2]
        if self.own:
            seen = (arrived < row["arrived_at"]) | ((arrived == row["arrived_at"]) & (number <= row[self.sequence]))
            seen &= (number != row[self.sequence]) | (time // DAY != row["event_time"] // DAY)
        else:
            seen = arrived <= row["arrived_at"]
        for place, column in self.narrowing:
            seen &= rows[place] == key_number(row[column])
        if seen.all():
            return rows if len(time) else None
        return rows[:, seen] if seen.any() else None


class _Member:
    """One aggregate and where its group has what it reads."""

    def __init__(
        self, number: int, of: Aggregate, unit: Fraction, start: int, end: int, column: int | None, where: int | None
    ) -> None:
        self.number, self.of, self.unit = number, of, unit
        self.start, self.end, self.column, self.where = start, end, column, where
        self.elapsed = of.function in ("seconds_since_first", "seconds_since_last")
        self.numerator, self.denominator = float(unit.numerator), unit.denominator

    def value(
        self, row: Row, rows: Int64Array | None, edges: Sequence[int] | None, sums: dict[Any, Any], *, own: bool
    ) -> float:
        """Its value for a row; `edges` are where the offsets of the group cut the rows, `sums` what others computed."""
        a = self.of
        itself = own and not a.delay and not self.elapsed and (a.where is None or bool(row[a.where]))
        mine = self._units(row) if itself and a.column is not None else 0
        itself = itself and mine is not None
        count, total, squares, largest = int(itself), mine or 0, (mine or 0) ** 2, mine if itself else None
        if rows is None or edges is None:
            return self.finished(count, total, squares, largest)
        first, last = edges[self.start], edges[self.end]
        if self.elapsed:
            chosen = self._chosen(rows, sums)
            if chosen is not None:
                low, high = chosen.searchsorted((first, last))
                found = () if low == high else (chosen[low], chosen[high - 1])
            else:
                found = (first, last - 1) if first < last else ()
            if not found:
                return _MISSING
            return (row["event_time"] - int(rows[0, found[a.function == "seconds_since_last"]])) / 1e6
        if (self.column, self.where) == (None, None):
            return self.finished(count + last - first, 0, None, None)
        counts = self._running(rows, sums, 0)
        count += int(counts[last] - counts[first])
        if a.function in ("sum", "mean", "std"):
            running = self._running(rows, sums, 1)
            total += int(running[last] - running[first])
        if a.function == "std":
            running = self._running(rows, sums, 2)
            squares += int(running[last] - running[first])
        if a.function == "max" and self.column is not None and first < last:
            values = rows[self.column, first:last]
            if self.where is not None:
                values = np.where(rows[self.where, first:last] == 1, values, NOTHING)
            highest = int(values.max())  # NOTHING is below every value
            largest = highest if largest is None else max(largest, highest)
        return self.finished(count, total, squares, largest)

    def finished(self, count: int, total: int, squares: int | None, largest: int | None) -> float:
        """From exact sums to the feature, by the same operations on floats as `aggregates.aggregated`."""
        function = self.of.function
        if function == "count":
            return count
        if function == "sum":
            return self._scaled(total) / self.denominator
        if not count or self.elapsed:
            return _MISSING
        if function == "mean":
            return self._scaled(total) / (count * self.denominator)
        if function == "max":
            assert largest is not None
            return float(largest) * self.numerator / self.denominator
        exact = (np.array([number], np.int64) for number in (count, total, squares))
        return float(standard_deviation(*exact)[0]) * float(self.unit)

    def _scaled(self, total: int) -> float:
        return float(total) if self.unit.numerator == 1 else float(total) * self.numerator

    def _units(self, row: Row) -> int | None:
        value = row[self.of.column or ""]
        if value is None:
            return None
        if isinstance(value, int) and self.unit == 1:
            return int(value)
        scaled = float(value) * self.unit.denominator / self.unit.numerator
        if not abs(scaled) ** (2 if self.of.function == "std" else 1) < _LARGEST_UNITS:
            raise ConvergenceError(
                f"aggregate {self.of.name!r}: {self.of.column} is {value!r}; expected a finite number that fits 64 "
                f"bits in units of {self.of.resolution}"
            )
        return round(scaled)

    def _selected(self, rows: Int64Array) -> npt.NDArray[np.bool_] | None:
        chosen = None if self.where is None else rows[self.where] == 1
        if self.column is not None:
            known = rows[self.column] != NOTHING
            chosen = known if chosen is None else chosen & known
        return chosen

    def _chosen(self, rows: Int64Array, sums: dict[Any, Any]) -> Int64Array | None:
        """Positions of the rows that count; None where all do."""
        if self.where is None:
            return None
        if ("at", self.where) not in sums:
            sums["at", self.where] = np.flatnonzero(rows[self.where] == 1)
        return sums["at", self.where]

    def _running(self, rows: Int64Array, sums: dict[Any, Any], power: int) -> Int64Array:
        """Sums of powers of the values that count, before each row; they wrap, so differences are exact."""
        name = (self.column, self.where, power)
        if name not in sums:
            chosen = self._selected(rows)
            values = rows[self.column] ** power if self.column is not None and power else np.ones(rows.shape[1], int)
            running = np.zeros(rows.shape[1] + 1, np.int64)
            np.cumsum(values if chosen is None else np.where(chosen, values, 0), out=running[1:])
            sums[name] = running
        return sums[name]
