from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.errors import ConvergenceError
from convergence.features.point_in_time import point_in_time_join
from tests.convergence.features import oracle
from tests.convergence.features.oracle import Row

BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
TIMES = st.builds(
    lambda hours, ticks: BEGIN + hours * HOUR + timedelta(microseconds=ticks), st.integers(0, 6), st.integers(-1, 1)
)
DELAYS = st.sampled_from((timedelta(0), timedelta(0), timedelta(microseconds=1), HOUR, 3 * HOUR))
KEYS = st.sampled_from((1, 1, 1, 2, 3, None))


@st.composite
def facts(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for number in range(draw(st.integers(0, 40))):
        time = draw(TIMES)
        row = {"sequence": number, "event_time": time, "arrived_at": time + draw(DELAYS), "value": number}
        rows.append(row | {"customer": draw(KEYS), "shop": draw(KEYS)})
        if draw(st.integers(0, 7)) == 0:
            rows.append(rows[-1] | {"arrived_at": rows[-1]["arrived_at"] + 2 * HOUR, "value": -number})
    return draw(st.permutations(rows))


@st.composite
def spines(draw: st.DrawFn) -> list[Row]:
    times = draw(st.lists(TIMES, max_size=20))
    return [
        {"event_time": time, "arrived_at": time + draw(DELAYS), "customer": draw(KEYS), "shop": draw(KEYS)}
        for time in times
    ]


def frame(rows: list[Row], *, key: Any = pl.Int64, zone: str | None = "UTC", fact: bool = False) -> pl.DataFrame:
    schema: dict[str, Any] = {"event_time": pl.Datetime("us", "UTC"), "arrived_at": pl.Datetime("us", "UTC")}
    schema |= {"customer": pl.Int64, "shop": pl.Int64}
    schema |= {"sequence": pl.Int64, "value": pl.Int64} if fact else {}
    times = pl.col("event_time", "arrived_at")
    return pl.DataFrame(rows, schema=schema).with_columns(
        pl.col("customer", "shop").cast(key), times if zone else times.dt.replace_time_zone(None)
    )


def fact(value: int, hour: float, *, arrived: float | None = None, sequence: int = 0) -> Row:
    known = BEGIN + (hour if arrived is None else arrived) * HOUR
    row = {"event_time": BEGIN + hour * HOUR, "arrived_at": known, "customer": 1, "shop": 1}
    return row | {"sequence": sequence, "value": value}


def known_at(hour: float, *rows: Row) -> int | None:
    time = BEGIN + hour * HOUR
    spine = frame([{"event_time": time, "arrived_at": time, "customer": 1, "shop": 1}])
    joined = point_in_time_join(spine, frame(list(rows), fact=True), by="customer", sequence="sequence")
    return joined["value"].item()


@settings(max_examples=250, deadline=None)
@given(
    spines(),
    facts(),
    st.sampled_from((("customer",), ("customer", "shop"))),
    st.sampled_from((pl.Int32, pl.Int64, pl.String)),
    st.sampled_from(("UTC", None)),
)
def test_the_join_equals_its_definition(
    spine: list[Row], given_facts: list[Row], by: tuple[str, ...], key: Any, zone: str | None
) -> None:
    left = frame(spine, key=key)
    right = frame(given_facts, key=key, zone=zone, fact=True).drop([c for c in ("customer", "shop") if c not in by])
    joined = point_in_time_join(left, right.lazy(), by=by, sequence="sequence")
    chosen = [oracle.last_known_fact(row, given_facts, by, "sequence") or {} for row in spine]
    assert_frame_equal(joined.select(left.columns), left)
    assert joined["value"].to_list() == [row.get("value") for row in chosen]
    times = joined["event_time_fact"].dt.replace_time_zone("UTC").to_list()
    assert times == [row.get("event_time") for row in chosen]


def test_both_cut_offs_hold_a_fact_must_have_happened_and_arrived() -> None:
    assert known_at(2, fact(1, 1)) == 1
    assert known_at(2, fact(1, 2)) == 1
    assert known_at(2, fact(1, 3)) is None
    assert known_at(2, fact(1, 1, arrived=3)) is None


def test_an_earlier_fact_stands_in_for_those_that_have_not_arrived() -> None:
    waiting = [fact(number, number / 100, arrived=9, sequence=number) for number in range(2, 100)]
    assert known_at(2, fact(1, 0.01), *waiting) == 1


def test_facts_of_the_same_time_are_decided_by_sequence_whatever_their_order() -> None:
    rows = [fact(number, 1, sequence=number) for number in (2, 3, 1)]
    assert known_at(2, *rows) == 3
    assert known_at(2, *reversed(rows)) == 3


def test_a_correction_replaces_a_fact_once_it_has_arrived() -> None:
    rows = (fact(1, 1, sequence=7), fact(2, 1, arrived=3, sequence=7))
    assert known_at(2, *rows) == 1
    assert known_at(3, *rows) == 2


def test_a_key_never_sees_the_facts_of_another_even_when_all_of_its_own_are_late() -> None:
    other = fact(8, 0.5) | {"customer": 0}
    assert known_at(2, other, fact(1, 1, arrived=9), fact(8, 0.5) | {"customer": 2}) is None


def test_columns_of_both_frames_are_told_apart_by_the_suffix() -> None:
    spine = frame([{"event_time": BEGIN, "arrived_at": BEGIN, "customer": 1, "shop": 1}])
    right = frame([fact(1, 0)], fact=True)
    joined = point_in_time_join(spine, right, by="customer", sequence="sequence", suffix="_then")
    expected = [*spine.columns, "event_time_then", "arrived_at_then", "shop_then", "sequence", "value"]
    assert joined.columns == expected
    with pytest.raises(ConvergenceError, match="choose another suffix than ''"):
        point_in_time_join(spine, right, by="customer", sequence="sequence", suffix="")


def test_keys_of_different_integer_widths_match() -> None:
    spine = frame([{"event_time": BEGIN, "arrived_at": BEGIN, "customer": 1, "shop": 1}], key=pl.Int32)
    joined = point_in_time_join(spine, frame([fact(1, 0)], fact=True), by="customer", sequence="sequence")
    assert joined["value"].to_list() == [1]


def test_missing_columns_are_named() -> None:
    spine, right = frame([]), frame([], fact=True)
    with pytest.raises(ConvergenceError, match="facts: lacks sequence; it has event_time"):
        point_in_time_join(spine, right.drop("sequence"), by="customer", sequence="sequence")
    with pytest.raises(ConvergenceError, match="spine: lacks known_at"):
        point_in_time_join(spine, right, by="customer", sequence="sequence", known_by="known_at")
