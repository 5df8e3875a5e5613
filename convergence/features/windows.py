"""The features of a view in Polars and numpy.

A row's features depend on its own window only, never on the batch: a day computed alone or in a range is the same bit
for bit.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import narwhals as nw
import numpy as np
import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.aggregates import aggregated
from convergence.features.keys import Int64Array, entity_codes, microseconds, microseconds_of
from convergence.features.views import MICROSECOND, FeatureView
from convergence.features.window_index import Timeline, WindowIndex

Frame = pl.DataFrame | pl.LazyFrame

# Each holds the intermediate sums of one entity in memory.
_THREADS = 2


def compute(view: FeatureView, frames: Mapping[str, Frame], start: datetime, end: datetime) -> pl.DataFrame:
    """Features of the rows of the view's source with start <= event_time < end.

    A row sees the rows of the same entity whose event time lies in the window of the aggregate and that were known at
    its own `arrived_at`: of its own source those with (arrived_at, sequence) up to its own, itself included; of
    another source those with arrived_at up to its own. A row with a null in an entity column belongs to no entity:
    its counts and sums are 0, its other features null. Nulls of an aggregated column are passed over.

    Args:
        view: what to compute.
        frames: the rows of each source of the view, with `event_time` and `arrived_at` (Datetime in microseconds,
            UTC; naive means UTC) and the columns of its aggregates; rows before `start` are the history, for which
            `FeatureView.reach_back` says how much is needed.
        start: first event time; naive means UTC.
        end: end of the range, exclusive; naive means UTC.

    Returns:
        One row for each row in the range, in (event_time, sequence) order, with the columns that the view keeps,
        `event_time`, `arrived_at` and the features: counts as Int64, other aggregates as Float64.

    Raises:
        ConvergenceError: a frame or column is missing, a time is null, or a value does not fit exact arithmetic.
    """
    if missing := [source for source in view.sources if source not in frames]:
        raise ConvergenceError(
            f"feature view {view.name!r} reads {', '.join(missing)}; "
            f"frames were given for {', '.join(frames) or 'no source'}"
        )
    start, end = (time.replace(tzinfo=time.tzinfo or UTC) for time in (start, end))
    spine = _sorted(_read(view, view.source, frames[view.source], start, end), view.sequence)
    time = microseconds(spine, "event_time")
    first = int(np.searchsorted(time, microseconds_of(start)))
    rows = spine[first:]
    timelines: dict[str, tuple[pl.DataFrame, Timeline]] = {}
    for source in view.sources:
        if source == view.source:
            arrival = _arrival_ranks(spine, view.sequence)
            timelines[source] = spine, Timeline(time, arrival, time[first:], arrival[first:] + 1, first)
        else:
            frame = _read(view, source, frames[source], start, end).sort("event_time")
            arrived = microseconds(frame, "arrived_at")
            in_order = np.sort(arrived)
            arrival = np.searchsorted(in_order, arrived)
            known = np.searchsorted(in_order, microseconds(rows, "arrived_at"), "right")
            timelines[source] = frame, Timeline(microseconds(frame, "event_time"), arrival, time[first:], known, None)

    def by_entity(group: tuple[str, tuple[str, ...]]) -> list[pl.Series]:
        frame, timeline = timelines[group[0]]
        if timeline.first is None:
            codes, query_codes = entity_codes([frame, rows], group[1])
        else:
            (codes,) = entity_codes([frame], group[1])
            query_codes = codes[timeline.first :]
        index = WindowIndex(timeline, codes, query_codes)
        return aggregated([a for a in view.aggregates if (a.source, a.entity) == group], frame, index)

    # Searches and sums in numpy release the interpreter lock.
    with ThreadPoolExecutor(_THREADS) as threads:
        groups = dict.fromkeys((a.source, a.entity) for a in view.aggregates)
        features = threads.map(by_entity, groups)
        # Entities share the edges of their windows in time; this thread finds them while the others sort.
        for source, offset in {(a.source, (a.delay + a.window) // MICROSECOND) for a in view.aggregates}:
            timelines[source][1].edge(offset)
        computed = {series.name: series for group in features for series in group}
    result = rows.with_columns(computed[aggregate.name] for aggregate in view.aggregates)
    for row in view.expressions:
        result = nw.from_native(result).with_columns(row.expression.alias(row.name)).to_native()
    return result.select(*view.keep, "event_time", "arrived_at", *view.features)


def _read(view: FeatureView, source: str, frame: Frame, start: datetime, end: datetime) -> pl.DataFrame:
    """The rows of a source that features in the range can depend on, and the columns if they are known."""
    frame = frame.lazy()
    schema = frame.collect_schema()
    own = [aggregate for aggregate in view.aggregates if aggregate.source == source]
    needed = ["event_time", "arrived_at"]
    needed += [column for a in own for column in (*a.entity, a.column, a.where) if column is not None]
    if source == view.source:
        needed += [view.sequence, *view.keep, *(column for a in view.aggregates for column in a.entity)]
    needed = list(dict.fromkeys(needed))
    if missing := [column for column in needed if column not in schema]:
        raise ConvergenceError(
            f"source {source!r} of feature view {view.name!r} lacks {', '.join(missing)}; it has {', '.join(schema)}"
        )
    for a in own:
        if a.where is not None and schema[a.where] != pl.Boolean:
            raise ConvergenceError(f"aggregate {a.name!r}: where column {a.where!r} is {schema[a.where]}, not Boolean")
    event_time = schema["event_time"]
    if not isinstance(event_time, pl.Datetime):
        raise ConvergenceError(f"source {source!r}: event_time is {event_time}; expected Datetime in microseconds")
    oldest = start - max((a.delay + a.window for a in own), default=end - end)
    since, until = (
        time.astimezone(UTC) if event_time.time_zone else time.astimezone(UTC).replace(tzinfo=None)
        for time in (oldest, end)
    )
    # Expressions may refer to any column of the view's own source.
    columns = list(schema) if view.expressions and source == view.source else needed
    return frame.filter(pl.col("event_time") >= since, pl.col("event_time") < until).select(columns).collect()


def _sorted(spine: pl.DataFrame, sequence: str) -> pl.DataFrame:
    """Rows in the order of the result; arrival decides between a row and its correction."""
    if spine.get_column(sequence).null_count():
        raise ConvergenceError(f"sequence column {sequence!r} has nulls; every row needs its place")
    order = ("event_time", sequence, "arrived_at")
    return spine if _ascends(spine, order, ties=True) else spine.sort(order, maintain_order=True)


def _arrival_ranks(spine: pl.DataFrame, sequence: str) -> Int64Array:
    """The rank of each row by (arrived_at, sequence); equal rows share a rank."""
    order = ("arrived_at", sequence)
    microseconds(spine, "arrived_at")
    if _ascends(spine, order, ties=False):
        return np.arange(len(spine))
    by_arrival = spine.select(pl.arg_sort_by(order)).to_series()
    ordered = spine.select(order)[by_arrival]
    new = ordered.select(pl.any_horizontal(pl.all() != pl.all().shift()).fill_null(True)).to_series()
    ranks = np.empty(len(spine), np.int64)
    ranks[by_arrival.to_numpy()] = np.cumsum(new.to_numpy()) - 1
    return ranks


def _ascends(frame: pl.DataFrame, columns: tuple[str, ...], *, ties: bool) -> bool:
    ascends = pl.lit(ties)
    for column in reversed(columns):
        ascends = (pl.col(column) > pl.col(column).shift()) | ((pl.col(column) == pl.col(column).shift()) & ascends)
    return frame.select(ascends.all()).item()
