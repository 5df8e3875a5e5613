"""Exact sums over windows that are bounded both in event time and in arrival.

Rows of an entity in event order are split into chains along which arrival does not decrease either: on a chain both
bounds are binary searches, so data in order is one chain and a late row costs a search instead of a scan.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import numpy.typing as npt

from convergence.features.keys import Int64Array, grouped

BoolArray = npt.NDArray[np.bool_]

# Disorder deeper than this many chains is rare enough to be enumerated pair by pair.
MAX_CHAINS = 8
PAIRS_AT_ONCE = 4_000_000

NOTHING = np.iinfo(np.int64).min  # below every value that can be aggregated


@dataclass(frozen=True)
class Timeline:
    """Rows of one source in event order, and the rows that look back on it (the queries), in event order too.

    A query may see exactly the rows whose `arrival` rank is below its `known`. `first` is the position of the first
    query when the queries are rows of the source itself, else None.
    """

    time: Int64Array
    arrival: Int64Array
    query_time: Int64Array
    known: Int64Array
    first: int | None
    _edges: dict[int, Int64Array] = field(default_factory=dict, init=False, repr=False)

    def edge(self, offset: int) -> Int64Array:
        """For each query the number of rows with time <= query time - offset (microseconds)."""
        if offset not in self._edges:
            self._edges[offset] = np.searchsorted(self.time, self.query_time - offset, "right")
        return self._edges[offset]


@dataclass(frozen=True)
class _Chain:
    """Some rows of an index, in its order; keys are group and position, and group and arrival rank."""

    members: Int64Array
    time_key: Int64Array
    known_key: Int64Array

    def where(self, rows: BoolArray) -> "_Chain":
        return _Chain(self.members[rows], self.time_key[rows], self.known_key[rows])


class WindowIndex:
    """Rows of a timeline grouped by entity, from the entity codes of its rows and of its queries.

    `order` is the position in the timeline of each indexed row (rows without an entity are left out), `queries` the
    number of each query that has an entity. Arrays of values have the shape of `order`, results that of `queries`.
    """

    def __init__(self, timeline: Timeline, codes: Int64Array, query_codes: Int64Array) -> None:
        self.order, group = grouped(codes)
        time_key = group + self.order
        if timeline.first is None:
            self.queries, query_group = grouped(query_codes)
            self.own: Int64Array | None = None
            self.group = query_group
        else:
            position = self.order - timeline.first
            self.own = np.flatnonzero((position >= 0) & (position < len(query_codes)))
            self.queries = position[self.own]
            self.group = group[self.own]
        self.timeline = timeline
        self.known_key = self.group + timeline.known[self.queries]
        self.chains, self.rest = _split(time_key, group + timeline.arrival[self.order])
        self._edges: dict[int, list[Int64Array]] = {}
        self._windows: dict[tuple[int, int], Window] = {}
        arrival = self.chains[0].known_key
        # In order and without ties, the last row that a query knows is itself.
        in_order = len(arrival) == len(self.order) and bool((arrival[1:] > arrival[:-1]).all())
        self._itself_last = self.own is not None and in_order
        if self.own is not None and self._itself_last:
            self._known_edges = [self.own + 1]
        else:
            self._known_edges = [np.searchsorted(chain.known_key, self.known_key) for chain in self.chains]

    def window(self, length: int, delay: int) -> "Window":
        """The rows that each query sees in (time - delay - length, time - delay], in microseconds."""
        if (length, delay) not in self._windows:
            starts = self._edge(delay + length)
            if self._itself_last and delay == 0:
                bounds = [(starts[0], self._known_edges[0])]
                rest = None
            else:
                ends = self._edge(delay)
                bounds = [
                    (start, np.maximum(np.minimum(end, known), start))
                    for start, end, known in zip(starts, ends, self._known_edges, strict=False)
                ]
                rest = (starts[-1], ends[-1]) if len(self.rest.time_key) else None
            self._windows[length, delay] = Window(self, bounds, rest)
        return self._windows[length, delay]

    def running_sums(self, values: Int64Array) -> list[Int64Array]:
        """What `Window.total` needs of one value a row: prefix sums of each chain, then the values of the rest.

        Prefix sums wrap modulo 2**64, so differences are exact wherever the sum of a window fits an int64.
        """
        sums = [_shifted(np.cumsum(values[chain.members]), 0) for chain in self.chains]
        return [*sums, values[self.rest.members]]

    def running_last(self, selected: BoolArray) -> list[Int64Array]:
        """What `Window.latest` needs of a selection: for each place of each chain the last selected member before it.

        Members are numbered from 0, none is -1; the selected members of the rest come last.
        """
        places = [np.where(selected[chain.members], np.arange(len(chain.time_key)), -1) for chain in self.chains]
        last = [_shifted(np.maximum.accumulate(place), -1) for place in places]
        return [*last, np.where(selected[self.rest.members], self.rest.members, -1)]

    def running_next(self, selected: BoolArray) -> list[Int64Array]:
        """What `Window.earliest` needs: for each place of each chain the first selected member from there on.

        Members are numbered from 0, none is the number of members; the selected members of the rest come last.
        """
        following: list[Int64Array] = []
        for chain in self.chains:
            size = len(chain.time_key)
            place = np.where(selected[chain.members], np.arange(size), size)
            following.append(np.append(np.minimum.accumulate(place[::-1])[::-1], size))
        return [*following, np.where(selected[self.rest.members], self.rest.members, len(self.order))]

    def seconds_since(self, latest: Int64Array) -> npt.NDArray[np.float64]:
        """Seconds from the row that `Window.latest` or `earliest` found to each query; NaN where it found none."""
        time = _shifted(self.timeline.time[self.order], 0)
        elapsed = self.timeline.query_time[self.queries] - time[latest + 1]
        return np.where(latest >= 0, elapsed / 1e6, np.nan)

    def _edge(self, offset: int) -> list[Int64Array]:
        """The number of rows up to time - offset for each query, on each chain and last among the rest."""
        if offset not in self._edges:
            key = self.group + self.timeline.edge(offset)[self.queries]
            parts = [*self.chains, self.rest] if len(self.rest.time_key) else self.chains
            self._edges[offset] = [np.searchsorted(part.time_key, key) for part in parts]
        return self._edges[offset]


class Window:
    """The rows of one window of each query: a range on each chain, and candidates among the rest."""

    def __init__(
        self,
        index: WindowIndex,
        bounds: list[tuple[Int64Array, Int64Array]],
        rest: tuple[Int64Array, Int64Array] | None,
    ) -> None:
        self._index = index
        self._bounds = bounds
        self._rest = rest

    def rows(self) -> Int64Array:
        """The number of rows of each window."""
        rows = reduce(np.add, (end - start for start, end in self._bounds))
        for query, _ in self._pairs():
            np.add.at(rows, query, 1)
        return rows

    def total(self, sums: list[Int64Array]) -> Int64Array:
        """The sum over each window of the values behind `WindowIndex.running_sums`."""
        *chains, rest = sums
        parts = (chain[end] - chain[start] for chain, (start, end) in zip(chains, self._bounds, strict=True))
        total = reduce(np.add, parts)
        for query, member in self._pairs():
            np.add.at(total, query, rest[member])
        return total

    def latest(self, last: list[Int64Array]) -> Int64Array:
        """The latest row of each window in `WindowIndex.running_last` but the query itself, by place; -1: none."""
        own = self._index.own
        latest = np.full(len(self._index.queries), -1)
        for chain, before, (start, end) in zip(self._index.chains, last, self._bounds, strict=False):
            found = before[end]
            if own is not None and len(chain.members):
                found = np.where((found >= 0) & (chain.members[found] == own), before[found], found)
            inside = np.flatnonzero((found >= start) & (found >= 0))
            latest[inside] = np.maximum(latest[inside], chain.members[found[inside]])
        for query, member in self._pairs():
            place = last[-1][member]
            other = query if own is None else query[place != own[query]]
            np.maximum.at(latest, other, place if own is None else place[place != own[query]])
        return latest

    def earliest(self, following: list[Int64Array]) -> Int64Array:
        """The earliest row of each window in `WindowIndex.running_next` but the query itself, by place; -1: none."""
        own, none = self._index.own, len(self._index.order)
        earliest = np.full(len(self._index.queries), none)
        for chain, after, (start, end) in zip(self._index.chains, following, self._bounds, strict=False):
            found = after[start]
            if own is not None and len(chain.members):
                at = np.minimum(found, len(chain.members) - 1)
                found = np.where((found < end) & (chain.members[at] == own), after[at + 1], found)
            inside = np.flatnonzero(found < end)
            earliest[inside] = np.minimum(earliest[inside], chain.members[found[inside]])
        for query, member in self._pairs():
            place = following[-1][member]
            other = slice(None) if own is None else place != own[query]
            np.minimum.at(earliest, query[other], place[other])
        return np.where(earliest < none, earliest, -1)

    def largest(self, values: Int64Array) -> Int64Array:
        """The largest value of each window, from one value a row; NOTHING where a window has no row.

        Maxima of runs of 1, 2, 4, ... rows answer every range by two overlapping runs.
        """
        largest = np.full(len(self._index.queries), NOTHING)
        for chain, (start, end) in zip(self._index.chains, self._bounds, strict=True):
            runs, size, rows = values[chain.members], 1, end - start
            while (fits := np.flatnonzero(rows >= size)).size:
                two = np.maximum(runs[start[fits]], runs[end[fits] - size])
                largest[fits] = np.maximum(largest[fits], two)
                runs, size = np.maximum(runs[: -size or None], runs[size:]) if len(runs) > size else runs[:0], 2 * size
        for query, member in self._pairs():
            np.maximum.at(largest, query, values[self._index.rest.members[member]])
        return largest

    def _pairs(self) -> Iterator[tuple[Int64Array, Int64Array]]:
        """Queries and the members of the rest that they see, enumerated in blocks of bounded size."""
        if self._rest is None:
            return
        start, end = self._rest
        sizes = end - start
        reached = np.cumsum(sizes)
        blocks = np.flatnonzero(np.diff(reached // PAIRS_AT_ONCE)) + 1
        for queries in np.split(np.arange(len(sizes)), blocks):
            size = sizes[queries]
            query = np.repeat(queries, size)
            member = np.arange(len(query)) + np.repeat(start[queries] - (np.cumsum(size) - size), size)
            seen = self._index.rest.known_key[member] < self._index.known_key[query]
            yield query[seen], member[seen]


def _split(time_key: Int64Array, known_key: Int64Array) -> tuple[list[_Chain], _Chain]:
    """Rows split into chains along which both keys ascend, and the rest."""
    rest = _Chain(np.arange(len(time_key)), time_key, known_key)
    chains: list[_Chain] = []
    while not chains or (len(rest.members) and len(chains) < MAX_CHAINS):
        # Keys lead with the group, so the smallest key ahead of a row is one of its own group.
        in_order = rest.known_key <= np.minimum.accumulate(rest.known_key[::-1])[::-1]
        chains.append(rest if in_order.all() else rest.where(in_order))
        rest = rest.where(~in_order)
    return chains, rest


def _shifted(values: Int64Array, before: int) -> Int64Array:
    shifted = np.empty(len(values) + 1, np.int64)
    shifted[0] = before
    shifted[1:] = values
    return shifted
