"""Repeats, labels and features of small worlds, against plain loops."""

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.lake.contracts import schema_of
from convergence_assets.fraud.arrivals import FIRST_DAY
from convergence_assets.fraud.contracts import RawTransaction, Transaction
from convergence_assets.fraud.datasets import without_repeats
from convergence_assets.fraud.feature_views import MODEL_INPUT, TRANSACTION_FEATURES
from convergence_assets.fraud.features import feature_rows
from tests.convergence.features import oracle
from tests.convergence_assets.fraud.worlds import at, datasets, messages

NOON = datetime(2018, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

Row = dict[str, Any]


def raw(*rows: Row) -> pl.DataFrame:
    """Raw rows; what is not given is as in any transaction."""
    usual = {
        "event_date": NOON.date(),
        "event_time": NOON,
        "arrived_at": NOON,
        "transaction_id": 1,
        "customer_id": 1,
        "terminal_id": 1,
        "amount": 1.0,
        "is_fraud": False,
        "fraud_scenario": 0,
        "source": "a",
        "offset": 0,
    }
    return pl.DataFrame([usual | row for row in rows], schema=schema_of(RawTransaction))


def kept(*rows: Row) -> list[float]:
    return without_repeats(raw(*rows).lazy()).collect()["amount"].to_list()


# Repeats and corrections


def test_a_repeat_is_dropped() -> None:
    assert kept({"offset": 0}, {"offset": 1}, {"source": "b"}) == [1.0]


def test_of_corrections_the_one_that_arrived_last_wins_wherever_it_stands() -> None:
    first, second, third = ({"amount": float(n), "arrived_at": NOON + n * HOUR} for n in (1, 2, 3))
    assert kept(third, first, second) == kept(first, second, third) == [3.0]


def test_of_corrections_that_arrived_together_the_higher_offset_wins() -> None:
    assert kept({"amount": 1.0, "offset": 10}, {"amount": 2.0, "offset": 9}) == [1.0]


def test_a_correction_of_the_label_wins_too() -> None:
    rows = raw({}, {"is_fraud": True, "fraud_scenario": 2, "arrived_at": NOON + HOUR})
    assert without_repeats(rows.lazy()).collect()["is_fraud"].to_list() == [True]


RAW = st.lists(
    st.fixed_dictionaries(
        {
            "transaction_id": st.integers(0, 3),
            "arrived_at": st.integers(0, 2).map(lambda hours: NOON + hours * HOUR),
            "event_time": st.integers(0, 2).map(lambda seconds: NOON + timedelta(seconds=seconds)),
            "source": st.sampled_from("ab"),
            "amount": st.integers(0, 9).map(float),
        }
    ),
    max_size=12,
)


@settings(deadline=None)
@given(RAW)
def test_one_row_is_left_of_each_transaction_and_it_is_the_newest(rows: list[Row]) -> None:
    rows = [row | {"offset": offset} for offset, row in enumerate(rows)]
    newest = {}
    for row in sorted(rows, key=lambda r: (r["arrived_at"], r["source"], r["offset"])):
        newest[row["transaction_id"]] = row
    expected = sorted(newest.values(), key=lambda r: (r["event_time"], r["transaction_id"]))
    found = without_repeats(raw(*rows).lazy()).collect()
    assert found.select("transaction_id", "offset").rows() == [(r["transaction_id"], r["offset"]) for r in expected]


@settings(deadline=None, max_examples=30)
@given(RAW, st.randoms())
def test_the_order_of_raw_rows_does_not_matter(rows: list[Row], random: Any) -> None:
    rows = [row | {"offset": offset} for offset, row in enumerate(rows)]
    shuffled = random.sample(rows, len(rows))
    assert without_repeats(raw(*rows).lazy()).collect().equals(without_repeats(raw(*shuffled).lazy()).collect())


# Features

START, END = date(2018, 5, 12), date(2018, 5, 17)  # 41 days in: every window is full


@cache
def late_world() -> tuple[pl.DataFrame, pl.DataFrame]:
    """A few customers, every seventh transaction known only hours later: transactions and labels."""
    transactions, labels = datasets(messages(customers=5, terminals=8, days=46, radius=60.0))
    hours = pl.when(pl.col("transaction_id") % 7 == 0).then(pl.col("transaction_id") % 40).otherwise(0)
    return transactions.with_columns(arrived_at=pl.col("arrived_at") + pl.duration(hours=hours)), labels


def computed(start: date = START, end: date = END) -> pl.DataFrame:
    transactions, labels = late_world()
    return feature_rows(transactions.lazy(), labels.lazy(), at(start), at(end))


@cache
def expected() -> list[Row]:
    transactions, labels = late_world()
    known = labels.rename({"label_time": "arrived_at"}).with_columns(
        is_fraud=pl.col("is_fraud").cast(pl.Int8), is_genuine=~pl.col("is_fraud")
    )
    rows = {"transactions": transactions.to_dicts(), "labels": known.to_dicts()}
    return oracle.features(TRANSACTION_FEATURES, rows, at(START), at(END))


@pytest.mark.parametrize("name", [aggregate.name for aggregate in TRANSACTION_FEATURES.aggregates])
def test_an_aggregate_is_what_plain_loops_give(name: str) -> None:
    assert computed()[name].to_list() == [row[name] for row in expected()]


def test_the_small_world_shows_every_aggregate_at_work() -> None:
    values = computed().select(aggregate.name for aggregate in TRANSACTION_FEATURES.aggregates)
    assert [column.name for column in values if column.n_unique() < 2] == []


def test_expressions_follow_from_their_row() -> None:
    for row in computed().iter_rows(named=True):
        time, genuine = row["event_time"], row["customer_genuine_mean_30d"]
        assert row["hour"] == time.hour
        assert row["is_weekend"] == (time.weekday() >= 5)
        assert row["is_night"] == (time.hour <= 6)
        assert row["is_new_terminal"] == (row["customer_terminal_count_30d"] == 1)
        assert row["amount_to_mean"] == row["amount"] / row["customer_mean_30d"]
        assert row["amount_to_genuine_mean"] == (row["amount"] / genuine if genuine else None)
        assert row["max_to_genuine_mean"] == (row["customer_max_7d"] / genuine if genuine else None)


def test_a_day_computed_alone_is_the_same_day_of_a_range() -> None:
    whole = computed(FIRST_DAY, END)
    for number in range((END - START).days):
        day = START + timedelta(days=number)
        assert computed(day, day + timedelta(days=1)).equals(whole.filter(pl.col("event_date") == day))


def test_a_day_reads_no_more_history_than_its_partitions_declare() -> None:
    transactions, labels = late_world()
    for source, name in ((transactions, "transactions"), (labels, "labels")):
        first, last = TRANSACTION_FEATURES.reach_back(name)
        assert -40 <= first <= last <= 0
        inside = pl.col("event_date").is_between(START + timedelta(days=first), START + timedelta(days=last))
        frames = {"transactions": transactions, "labels": labels} | {name: source.filter(inside)}
        alone = feature_rows(frames["transactions"].lazy(), frames["labels"].lazy(), at(START), at(END))
        day = pl.col("event_date") == START
        assert alone.filter(day).equals(computed().filter(day))


def test_labels_that_become_known_later_change_nothing() -> None:
    transactions, labels = late_world()
    until = pl.col("label_time") <= at(END)
    flipped = labels.with_columns(is_fraud=pl.when(until).then("is_fraud").otherwise(~pl.col("is_fraud")))
    assert not flipped.equals(labels)
    assert feature_rows(transactions.lazy(), flipped.lazy(), at(START), at(END)).equals(computed())


def test_no_transaction_and_no_model_input_holds_a_label() -> None:
    assert {"is_fraud", "fraud_scenario", "label_time"}.isdisjoint(schema_of(Transaction).names())
    assert {"is_fraud", "fraud_scenario", "transaction_id", "customer_id", "terminal_id"}.isdisjoint(MODEL_INPUT)
