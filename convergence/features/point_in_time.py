"""The point-in-time join: what was known about a key at each row of a spine.

One binary search answers the rows whose latest fact had arrived; only the others look further back, in steps that are
logarithmic in the number of facts of a key.
"""

from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.keys import Int64Array, entity_codes, grouped, microseconds

_THREADS = 2


def point_in_time_join(
    spine: pl.DataFrame | pl.LazyFrame,
    facts: pl.DataFrame | pl.LazyFrame,
    *,
    by: str | Sequence[str],
    sequence: str,
    spine_time: str = "event_time",
    known_by: str = "arrived_at",
    fact_time: str = "event_time",
    fact_known: str = "arrived_at",
    suffix: str = "_fact",
) -> pl.DataFrame:
    """Each spine row with the last fact of its key that had happened and was known.

    The fact is the last by (fact_time, sequence, fact_known) of those with fact_time <= spine_time and
    fact_known <= known_by. A row with a null in a key column has no fact.

    Args:
        spine: rows to complete.
        facts: what may become known about a key, in any order.
        by: key columns, in both frames.
        sequence: column of `facts` that decides between facts of the same key and time; repeated only by corrections.
        spine_time: spine column: time of the row.
        known_by: spine column: time up to which a fact must have arrived.
        fact_time: facts column: when it happened.
        fact_known: facts column: when it became known.
        suffix: added to the name of a facts column that the spine has too.

    Returns:
        All spine rows in their order, then the columns of `facts` without the keys, null where there is no fact.

    Raises:
        ConvergenceError: a column is missing, a time is not a Datetime in microseconds or is null, or names collide.
    """
    spine, facts = spine.lazy().collect(), facts.lazy().collect()
    by = [by] if isinstance(by, str) else list(by)
    _require_columns("spine", spine, [*by, spine_time, known_by])
    _require_columns("facts", facts, [*by, sequence, fact_time, fact_known])
    names = {name: name + suffix if name in spine.columns else name for name in facts.columns if name not in by}
    if collisions := [name for name in names.values() if name in spine.columns]:
        raise ConvergenceError(f"both frames have {', '.join(collisions)}; choose another suffix than {suffix!r}")
    cut_off = microseconds(spine, known_by)
    row_codes, fact_codes = entity_codes([spine, facts], by)
    row_time, time, arrived = (
        microseconds(*column) for column in ((spine, spine_time), (facts, fact_time), (facts, fact_known))
    )
    with ThreadPoolExecutor(_THREADS) as threads:  # sorts and searches release the interpreter lock
        row_groups = threads.submit(grouped, row_codes)
        in_time = threads.submit(lambda: pl.Series(row_time).arg_sort().to_numpy())
        order = facts.select(pl.arg_sort_by(fact_time, sequence, fact_known)).to_series().to_numpy()
        fact_codes, time, arrived = threads.map(lambda values: values[order], (fact_codes, time, arrived))
        fact_groups = threads.submit(grouped, fact_codes)
        reached = _number_up_to(time, row_time, in_time.result())
        latest = _latest(*row_groups.result(), *fact_groups.result(), reached, threads)
    found = np.flatnonzero(latest >= 0)
    waiting = found[arrived[latest[found]] > cut_off[found]]
    if len(waiting):
        latest[waiting] = _last_arrived(fact_codes, arrived, latest[waiting], cut_off[waiting])
    chosen = pl.Series(np.append(order, -1)[latest])
    chosen = chosen.set(chosen < 0, None)
    return spine.hstack(facts.select(pl.col(name).gather(chosen).alias(names[name]) for name in names))


def _number_up_to(ascending: Int64Array, times: Int64Array, order: Int64Array) -> Int64Array:
    """How many of the ascending values are at most each of the times, whose ascending order is given."""
    number = np.empty(len(times), np.int64)
    number[order] = np.searchsorted(ascending, times[order], "right")  # several times faster than in any order
    return number


def _latest(
    rows: Int64Array,
    row_group: Int64Array,
    places: Int64Array,
    group: Int64Array,
    reached: Int64Array,
    threads: Executor,
) -> Int64Array:
    """For each row the last place in its group among the first `reached` places, -1: none."""
    keys, places, group = group + places, np.append(places, -1), np.append(group, -1)
    latest = np.full(len(reached), -1)

    def find(rows: Int64Array, row_group: Int64Array) -> None:
        at = np.searchsorted(keys, row_group + reached[rows]) - 1
        latest[rows] = np.where(group[at] == row_group, places[at], -1)

    list(threads.map(find, np.array_split(rows, _THREADS), np.array_split(row_group, _THREADS)))
    return latest


def _last_arrived(codes: Int64Array, arrived: Int64Array, place: Int64Array, cut_off: Int64Array) -> Int64Array:
    """For each given place the last one of the same key, up to it, that had arrived by the cut-off; -1: none.

    Args:
        codes: key of each fact, in event order, shape (facts,).
        arrived: when each became known.
        place: where to start, shape (rows,).
        cut_off: latest arrival allowed, shape (rows,).
    """
    order, group = grouped(codes)
    arrived = arrived[order]
    numbers = np.arange(len(order))
    first = np.maximum.accumulate(np.where(np.diff(group, prepend=-1) != 0, numbers, 0))
    # earliest[level] is the first arrival among a fact and the 2**level - 1 before it.
    earliest = [arrived]
    while 2 ** len(earliest) <= int((numbers - first).max()) + 1:
        last, step = earliest[-1], 2 ** (len(earliest) - 1)
        earliest.append(np.concatenate([last[:step], np.minimum(last[step:], last[:-step])]))
    inverse = np.empty(len(codes), np.int64)
    inverse[order] = numbers
    at = inverse[place]
    start = first[at]
    for level in reversed(range(len(earliest))):
        at -= ((at - 2**level + 1 >= start) & (earliest[level][at] > cut_off)) * 2**level
    return np.where(at >= start, order[at], -1)


def _require_columns(frame_name: str, frame: pl.DataFrame, columns: Sequence[str]) -> None:
    if missing := [column for column in columns if column not in frame.columns]:
        raise ConvergenceError(f"{frame_name}: lacks {', '.join(missing)}; it has {', '.join(frame.columns)}")
