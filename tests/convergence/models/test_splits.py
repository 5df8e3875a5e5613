"""The split against the Handbook's own loop over days and sets."""

from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import ConvergenceError
from convergence.models import splits

START = date(2018, 4, 1)


def transactions(rows: list[tuple[int, int, int]]) -> pl.DataFrame:
    """Rows of (day number, customer, fraud), numbered in the given order."""
    return pl.DataFrame(
        {
            "transaction_id": range(len(rows)),
            "event_time": [datetime.combine(START + timedelta(days=day), time(12), UTC) for day, _, _ in rows],
            "event_date": [START + timedelta(days=day) for day, _, _ in rows],
            "customer_id": [customer for _, customer, _ in rows],
            "is_fraud": [fraud for _, _, fraud in rows],
        },
        schema_overrides={"event_time": pl.Datetime("us", "UTC"), "is_fraud": pl.Int8, "customer_id": pl.Int64},
    )


def handbook(rows: list[tuple[int, int, int]], *, start_train: int, train: int, delay: int, test: int, known_days: int):
    """`get_train_test_set` with day numbers, the known cards taken from the last `known_days` training days."""
    in_train = [i for i, (day, _, _) in enumerate(rows) if start_train <= day < start_train + train]
    since = start_train + train - known_days
    known = {customer for day, customer, fraud in rows if since <= day < start_train + train and fraud == 1}
    in_test = []
    for d in range(test):
        known |= {customer for day, customer, fraud in rows if day == start_train + train + d - 1 and fraud == 1}
        day_rows = [i for i, (day, _, _) in enumerate(rows) if day == start_train + train + delay + d]
        in_test += [i for i in day_rows if rows[i][1] not in known]
    return in_train, sorted(in_test)


def split(rows: list[tuple[int, int, int]], as_of: date, *, train: int, delay: int, test: int, known_days: int):
    frame = transactions(rows)
    kept = splits.remove_known_compromised(
        splits.evaluation_rows(frame, as_of, days=test), frame, as_of=as_of, delay=delay, known_days=known_days
    )
    training = splits.training_rows(frame, as_of, days=train, delay=delay)
    return training["transaction_id"].to_list(), sorted(kept["transaction_id"])


ROWS = st.lists(
    st.tuples(st.integers(0, 34), st.integers(0, 7), st.sampled_from([0, 0, 0, 1])), min_size=0, max_size=80
)


@given(rows=ROWS, delay=st.integers(1, 9), test=st.integers(1, 8), train=st.integers(1, 14))
@settings(max_examples=150, deadline=None)
def test_the_split_equals_the_handbooks_for_its_own_training_window(rows, delay, test, train) -> None:
    start_train = 2
    first_test = start_train + train + delay
    # One row each in the training and test windows, which may not be empty.
    rows = [*rows, (start_train + train - 1, 100, 0), (first_test, 101, 0)]
    windows = {"train": train, "delay": delay, "test": test, "known_days": train}
    found = split(rows, START + timedelta(days=first_test), **windows)
    assert found == handbook(rows, start_train=start_train, **windows)


@given(rows=ROWS, train=st.integers(1, 14))
@settings(max_examples=80, deadline=None)
def test_the_test_rows_are_the_same_for_any_training_window(rows, train) -> None:
    rows = [*rows, (14, 100, 0), (22, 101, 0)]
    as_of = START + timedelta(days=22)
    found = split(rows, as_of, train=train, delay=7, test=7, known_days=7)
    assert found[1] == handbook(rows, start_train=8, train=7, delay=7, test=7, known_days=7)[1]


def test_a_boolean_label_removes_the_same_cards_as_an_integer_one() -> None:
    frame = transactions([(0, 1, 1), (1, 2, 0), (14, 1, 0), (14, 2, 0)])
    as_of = START + timedelta(days=14)
    rows = splits.evaluation_rows(frame, as_of)
    for history in (frame, frame.with_columns(pl.col("is_fraud").cast(pl.Boolean))):
        assert splits.remove_known_compromised(rows, history, as_of=as_of)["customer_id"].to_list() == [2]


def test_a_fraud_whose_label_is_not_yet_known_removes_no_card() -> None:
    frame = transactions([(0, 9, 0), (8, 1, 1), (14, 1, 0), (15, 1, 0), (16, 1, 0), (17, 1, 0)])
    as_of = START + timedelta(days=14)
    kept = splits.remove_known_compromised(splits.evaluation_rows(frame, as_of), frame, as_of=as_of)
    assert kept["event_date"].to_list() == [START + timedelta(days=14), START + timedelta(days=15)]


def test_the_remaining_rows_keep_their_columns_and_order() -> None:
    frame = transactions([(0, 9, 0), (15, 3, 0), (14, 2, 0), (16, 1, 0)])
    as_of = START + timedelta(days=14)
    rows = splits.evaluation_rows(frame, as_of)
    assert splits.remove_known_compromised(rows, frame, as_of=as_of).equals(rows)


def test_an_empty_training_window_says_which_days_were_found() -> None:
    frame = transactions([(20, 1, 0)])
    with pytest.raises(ConvergenceError, match=r"no training rows in \[2018-04-01, 2018-04-08\); found 2018-04-21"):
        splits.training_rows(frame, START + timedelta(days=14))


def test_a_window_of_no_days_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="at least one day"):
        splits.evaluation_rows(transactions([(1, 1, 0)]), START, days=0)


def test_a_history_without_the_days_known_from_the_start_is_refused() -> None:
    frame = transactions([(14, 1, 0)])
    with pytest.raises(ConvergenceError, match="no history rows"):
        splits.remove_known_compromised(frame, frame, as_of=START + timedelta(days=14))


def test_rows_before_the_first_test_day_are_refused() -> None:
    frame = transactions([(0, 1, 0), (14, 1, 0)])
    with pytest.raises(ConvergenceError, match="1 of 2 rows are before the first test day 2018-04-15"):
        splits.remove_known_compromised(frame, frame, as_of=START + timedelta(days=14))
