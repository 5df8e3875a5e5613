"""The prequential split: train, wait for the labels, then test on the days that follow.

It is stated from the first test day, so that a model as of D and its evaluation share one date whatever the windows.
"""

from datetime import date, timedelta

import polars as pl

from convergence.errors import ConvergenceError


def training_rows(frame: pl.DataFrame, as_of: date, *, days: int = 7, delay: int = 7) -> pl.DataFrame:
    """Rows whose labels are known on the day before `as_of`: event_date in [as_of - delay - days, as_of - delay).

    Source: `get_train_test_set` of the Fraud Detection Handbook (Le Borgne et al., ULB), chapter 3.

    Args:
        frame: any rows with `event_date` (Date).
        as_of: first test day.
        days: length of the training window, in days.
        delay: days after which a label is known.

    Raises:
        ConvergenceError: the window is not positive or holds no row.
    """
    end = as_of - timedelta(days=delay)
    return _between(frame, end - timedelta(days=days), end, "training")


def evaluation_rows(frame: pl.DataFrame, as_of: date, *, days: int = 7) -> pl.DataFrame:
    """Rows to be scored: event_date in [as_of, as_of + days).

    Raises:
        ConvergenceError: the window is not positive or holds no row.
    """
    return _between(frame, as_of, as_of + timedelta(days=days), "test")


def remove_known_compromised(
    frame: pl.DataFrame, history: pl.DataFrame, *, as_of: date, delay: int = 7, known_days: int = 7
) -> pl.DataFrame:
    """Drop from each test day the cards already known to be compromised on it.

    A fraud on day x is known from x + delay + 1. Frauds count from as_of - delay - known_days on: with the Handbook's
    own training window of 7 days this is its rule, and the test rows stay the same for any longer training window.
    Source: `get_train_test_set` of the Fraud Detection Handbook, chapter 3.

    Args:
        frame: test rows with `event_date` (Date, none before `as_of`) and `customer_id`.
        history: rows with `event_date`, `customer_id` and `is_fraud` (Boolean or 0/1), from
            as_of - delay - known_days to the last test day less delay + 1; more rows do no harm.
        as_of: first test day.
        delay: days after which a label is known.
        known_days: days before as_of - delay whose frauds are known from the start.

    Returns:
        The remaining rows of `frame`, in their order.

    Raises:
        ConvergenceError: `frame` holds rows before `as_of`, or `history` has no row in the days known from the start.
    """
    early = frame.filter(pl.col("event_date") < as_of).height
    if early:
        msg = (
            f"{early} of {frame.height} rows are before the first test day {as_of}; pass the result of evaluation_rows"
        )
        raise ConvergenceError(msg)
    end = as_of - timedelta(days=delay)
    since = end - timedelta(days=known_days)
    _between(history, since, end, "history")
    known = (
        history.filter(pl.col("is_fraud").cast(pl.Boolean), pl.col("event_date") >= since)
        .group_by("customer_id")
        .agg(known_from=pl.col("event_date").min() + pl.duration(days=delay + 1))
    )
    return (
        frame.join(known, on="customer_id", how="left", maintain_order="left")
        .filter(pl.col("known_from").is_null() | (pl.col("event_date") < pl.col("known_from")))
        .drop("known_from")
    )


def _between(frame: pl.DataFrame, start: date, end: date, name: str) -> pl.DataFrame:
    if start >= end:
        msg = f"the {name} window [{start}, {end}) is empty; expected at least one day"
        raise ConvergenceError(msg)
    rows = frame.filter(pl.col("event_date") >= start, pl.col("event_date") < end)
    if rows.is_empty():
        found = f"{frame['event_date'].min()} to {frame['event_date'].max()}" if frame.height else "no rows at all"
        msg = f"no {name} rows in [{start}, {end}); found {found}; materialize those days or move the as-of date"
        raise ConvergenceError(msg)
    return rows
