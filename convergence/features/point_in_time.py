"""The point-in-time join: what was known about a key at each row of a spine.

One binary search answers the rows whose latest fact had arrived; only the others look further back, in steps that are
logarithmic in the number of facts of a key.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.keys import Int64Array, entity_codes, grouped, microseconds


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
    order = facts.select(pl.arg_sort_by(fact_time, sequence, fact_known)).to_series().to_numpy()
    arrived = microseconds(facts, fact_known)[order]
    row_codes, fact_codes = entity_codes([spine, facts], by)
    fact_codes = fact_codes[order]
    latest = _latest(row_codes, microseconds(spine, spine_time), fact_codes, microseconds(facts, fact_time)[order])
    found = np.flatnonzero(latest >= 0)
    waiting = found[arrived[latest[found]] > cut_off[found]]
    if len(waiting):
        latest[waiting] = _last_arrived(fact_codes, arrived, latest[waiting], cut_off[waiting])
    chosen = pl.Series(np.append(order, -1)[latest])
    chosen = chosen.set(chosen < 0, None)
    return spine.hstack(facts.select(pl.col(name).gather(chosen).alias(names[name]) for name in names))


def _latest(row_codes: Int64Array, row_time: Int64Array, fact_codes: Int64Array, fact_time: Int64Array) -> Int64Array:
    """For each row the place of the last fact of its code up to its time, -1: none; the facts are in event order."""
    # Sorts and searches in numpy release the interpreter lock.
    with ThreadPoolExecutor(2) as threads:
        by_code = [threads.submit(grouped, codes) for codes in (row_codes, fact_codes)]
        reached = _number_up_to(fact_time, row_time)
        (rows, row_group), (places, group) = (task.result() for task in by_code)
    at = np.searchsorted(group + places, row_group + reached[rows]) - 1
    same_key = np.append(group, -1)[at] == row_group
    latest = np.full(len(row_codes), -1)
    latest[rows] = np.where(same_key, np.append(places, -1)[at], -1)
    return latest


def _number_up_to(ascending: Int64Array, times: Int64Array) -> Int64Array:
    order = pl.Series(times).arg_sort().to_numpy()
    number = np.empty(len(times), np.int64)
    number[order] = np.searchsorted(ascending, times[order], "right")  # several times faster than in any order
    return number


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
