from datetime import UTC, datetime, timedelta
from typing import Any

import narwhals as nw
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.errors import ConvergenceError
from convergence.features import window_index
from convergence.features.views import Aggregate, FeatureView, Function, RowExpression
from convergence.features.windows import compute
from tests.convergence.features import oracle
from tests.convergence.features.oracle import Row

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)
END = BEGIN + timedelta(days=3)
FUNCTIONS: tuple[Function, ...] = ("count", "sum", "mean", "std", "max", "seconds_since_first", "seconds_since_last")


def aggregate(name: str, function: Function, **changes: Any) -> Aggregate:
    column = "amount" if function in ("sum", "mean", "std", "max") else None
    declared = {"entity": ("customer",), "window": HOUR, "column": column, "resolution": 0.01}
    return Aggregate(name, description="Test.", function=function, **(declared | changes))


def view(*aggregates: Aggregate, **changes: Any) -> FeatureView:
    declared = {"source": "payments", "sequence": "id", "keep": ("id",), "aggregates": aggregates}
    return FeatureView("view", description="Test.", **(declared | changes))


VIEW = view(
    *(aggregate(f"{function}_1h", function) for function in FUNCTIONS),
    *(aggregate(f"{function}_1d", function, window=24 * HOUR, where="flag") for function in FUNCTIONS),
    *(aggregate(f"pair_{function}", function, entity=("customer", "shop"), window=3 * HOUR) for function in FUNCTIONS),
    aggregate("delayed", "sum", delay=HOUR),
    *(aggregate(f"label_{function}", function, source="labels", delay=HOUR) for function in FUNCTIONS),
    *(aggregate(f"label_now_{function}", function, source="labels", where="flag") for function in FUNCTIONS),
)
TIMES = st.builds(
    lambda hours, ticks: BEGIN + hours * HOUR + ticks * TICK, st.sampled_from((0, 1, 2, 3, 24, 25)), st.integers(-1, 1)
)
DELAYS = st.sampled_from((timedelta(0), timedelta(0), timedelta(0), TICK, HOUR, 25 * HOUR))
KEYS = st.sampled_from((1, 1, 1, 2, 3, None))


@st.composite
def payments(draw: st.DrawFn, most: int = 24) -> list[Row]:
    rows: list[Row] = []
    for number in range(draw(st.integers(0, most))):
        time = draw(TIMES)
        rows.append(
            {
                "id": number,
                "event_time": time,
                "arrived_at": time + draw(DELAYS),
                "customer": draw(KEYS),
                "shop": draw(KEYS),
                "amount": draw(st.one_of(st.none(), st.integers(-300, 300).map(lambda cents: cents / 100))),
                "flag": draw(st.sampled_from((True, False, None))),
            }
        )
        if draw(st.integers(0, 7)) == 0:
            rows.append(rows[-1] | {"arrived_at": rows[-1]["arrived_at"] + draw(DELAYS), "amount": 0.5})
    return draw(st.permutations(rows))


def frame(rows: list[Row], key: Any = pl.Int64, zone: str | None = "UTC") -> pl.DataFrame:
    schema = {
        "id": pl.Int64,
        "event_time": pl.Datetime("us", "UTC"),
        "arrived_at": pl.Datetime("us", "UTC"),
        "customer": pl.Int64,
        "shop": pl.Int64,
        "amount": pl.Float64,
        "flag": pl.Boolean,
    }
    times = pl.col("event_time", "arrived_at")
    return pl.DataFrame(rows, schema=schema).with_columns(
        pl.col("customer", "shop").cast(key), times if zone else times.dt.replace_time_zone(None)
    )


def payment(number: int, time: datetime, *, arrived: datetime | None = None, **changes: Any) -> Row:
    row = {"id": number, "event_time": time, "arrived_at": arrived or time, "customer": 1, "shop": 1}
    return row | {"amount": 1.0, "flag": True} | changes


def features(*rows: Row, of: FeatureView, labels: tuple[Row, ...] = ()) -> pl.DataFrame:
    return compute(of, {"payments": frame(list(rows)), "labels": frame(list(labels))}, BEGIN, END)


@settings(max_examples=150, deadline=None)
@given(payments(), payments(), st.sampled_from((pl.Int32, pl.Int64, pl.String)), st.sampled_from(("UTC", None)))
def test_features_equal_their_definition(rows: list[Row], labels: list[Row], key: Any, zone: str | None) -> None:
    result = compute(VIEW, {"payments": frame(rows, key, zone), "labels": frame(labels, key).lazy()}, BEGIN, END)
    assert tuple(result.columns) == ("id", "event_time", "arrived_at", *VIEW.features)
    expected = oracle.features(VIEW, {"payments": rows, "labels": labels}, BEGIN, END)
    if zone is None:
        result = result.with_columns(pl.col("event_time", "arrived_at").dt.replace_time_zone("UTC"))
    assert_frame_equal(result, pl.DataFrame(expected, schema=result.schema), rel_tol=1e-12, abs_tol=1e-12)


@settings(max_examples=60, deadline=None)
@given(payments(), payments(), st.integers(1, 2), st.integers(1, 9))
def test_features_equal_their_definition_when_few_chains_are_searched_and_pairs_come_in_small_blocks(
    rows: list[Row], labels: list[Row], chains: int, block: int
) -> None:
    frames = {"payments": frame(rows), "labels": frame(labels)}
    expected = compute(VIEW, frames, BEGIN, END)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window_index, "MAX_CHAINS", chains)
        patch.setattr(window_index, "PAIRS_AT_ONCE", block)
        assert_frame_equal(compute(VIEW, frames, BEGIN, END), expected, check_exact=True)


@settings(max_examples=60, deadline=None)
@given(payments(), payments())
def test_a_day_computed_alone_equals_the_same_day_of_a_range_bit_for_bit(rows: list[Row], labels: list[Row]) -> None:
    frames = {"payments": frame(rows), "labels": frame(labels)}
    whole = compute(VIEW, frames, BEGIN - timedelta(days=1), END)
    day = BEGIN + timedelta(days=1)
    needed: dict[str, pl.DataFrame] = {}
    for source, rows_of_source in frames.items():
        first, last = VIEW.reach_back(source)
        date = pl.col("event_time").dt.date()
        needed[source] = rows_of_source.filter(
            date.is_between((day + timedelta(days=first)).date(), (day + timedelta(days=last)).date())
        )
    alone = compute(VIEW, needed, day, day + timedelta(days=1))
    within = whole.filter(pl.col("event_time").dt.date() == day.date())
    assert_frame_equal(alone, within, check_exact=True)


@settings(max_examples=60, deadline=None)
@given(payments(), payments(), st.data())
def test_rows_that_arrive_later_never_change_the_features_of_a_row(
    rows: list[Row], labels: list[Row], data: st.DataObject
) -> None:
    cut_off = data.draw(TIMES)
    known = {
        source: frame([row for row in given_rows if row["arrived_at"] <= cut_off])
        for source, given_rows in {"payments": rows, "labels": labels}.items()
    }
    begin = BEGIN - timedelta(days=1)
    then = compute(VIEW, known, begin, END)
    later = compute(VIEW, {"payments": frame(rows), "labels": frame(labels)}, begin, END)
    assert_frame_equal(then, later.filter(pl.col("arrived_at") <= cut_off), check_exact=True)


def test_a_window_excludes_its_oldest_edge_and_includes_the_row_itself() -> None:
    at = BEGIN + 2 * HOUR
    rows = (payment(0, at - HOUR - TICK), payment(1, at - HOUR), payment(2, at - HOUR + TICK), payment(3, at))
    assert features(*rows, of=view(aggregate("n", "count")))["n"].to_list() == [1, 2, 3, 2]


def test_rows_at_the_same_instant_are_seen_in_sequence() -> None:
    rows = [payment(number, BEGIN) for number in (2, 0, 1)]
    assert features(*rows, of=view(aggregate("n", "count"))).select("id", "n").rows() == [(0, 1), (1, 2), (2, 3)]


def test_a_late_row_is_seen_only_by_rows_that_arrive_after_it() -> None:
    late = payment(0, BEGIN, arrived=BEGIN + timedelta(minutes=30))
    rows = (late, payment(1, BEGIN + timedelta(minutes=10)), payment(2, BEGIN + timedelta(minutes=40)))
    assert features(*rows, of=view(aggregate("n", "count")))["n"].to_list() == [1, 1, 3]


def test_a_label_counts_once_it_is_known_and_its_delay_has_passed() -> None:
    label = payment(9, BEGIN, arrived=BEGIN + 3 * HOUR)
    rows = [payment(number, BEGIN + number * HOUR) for number in range(1, 7)]
    declared = view(aggregate("n", "count", source="labels", delay=2 * HOUR, window=3 * HOUR))
    assert features(*rows, of=declared, labels=(label,))["n"].to_list() == [0, 0, 1, 1, 0, 0]


def test_a_row_without_an_entity_counts_nothing_not_even_itself() -> None:
    declared = view(*(aggregate(function, function) for function in FUNCTIONS))
    rows = (payment(0, BEGIN, customer=None), payment(1, BEGIN, customer=None))
    assert features(*rows, of=declared).select(FUNCTIONS).rows() == [(0, 0.0, *[None] * 5)] * 2


def test_sums_of_cents_are_exact() -> None:
    rows = [payment(number, BEGIN, amount=0.1) for number in range(10)]
    assert features(*rows, of=view(aggregate("total", "sum")))["total"][-1] == 1.0


def test_the_deviation_of_large_close_values_keeps_its_digits() -> None:
    rows = [payment(number, BEGIN, amount=1e7 + number % 2) for number in range(4)]
    deviation = features(*rows, of=view(aggregate("spread", "std")))["spread"].to_list()
    assert deviation == pytest.approx([0, 0.5, (2 / 9) ** 0.5, 0.5], rel=1e-14)


def test_expressions_see_source_columns_aggregates_and_earlier_expressions() -> None:
    declared = view(
        aggregate("mean_1h", "mean"),
        expressions=(
            RowExpression("ratio", nw.col("amount") / nw.col("mean_1h"), "Amount over the mean."),
            RowExpression("high", (nw.col("ratio") > 1) & nw.col("flag"), "Above the mean."),
        ),
    )
    result = features(payment(0, BEGIN, amount=1.0), payment(1, BEGIN, amount=3.0), of=declared)
    assert result.columns == ["id", "event_time", "arrived_at", "mean_1h", "ratio", "high"]
    assert result.select("ratio", "high").rows() == [(1.0, False), (1.5, True)]


def test_keys_of_the_full_integer_range_and_of_different_widths_are_told_apart() -> None:
    keys = [-(2**63), 2**63 - 1, 0, -(2**63)]
    wide = frame([payment(number, BEGIN, customer=key, shop=key) for number, key in enumerate(keys)])
    declared = view(aggregate("n", "count", entity=("customer", "shop")))
    assert compute(declared, {"payments": wide}, BEGIN, END)["n"].to_list() == [1, 1, 1, 2]
    labelled = view(aggregate("n", "count", source="labels"))
    frames = {"payments": frame([payment(0, BEGIN)], pl.Int32), "labels": frame([payment(0, BEGIN)], pl.Int64)}
    assert compute(labelled, frames, BEGIN, END)["n"].to_list() == [1]


def test_empty_frames_give_an_empty_result_of_the_same_schema() -> None:
    full = features(payment(0, BEGIN), of=VIEW, labels=(payment(1, BEGIN),))
    empty = features(of=VIEW)
    assert empty.is_empty()
    assert empty.schema == full.schema


def test_the_range_may_be_naive_and_then_means_utc() -> None:
    frames = {"payments": frame([payment(0, BEGIN)])}
    declared = view(aggregate("n", "count"))
    naive = compute(declared, frames, BEGIN.replace(tzinfo=None), END.replace(tzinfo=None))
    assert_frame_equal(naive, compute(declared, frames, BEGIN, END))


def test_a_value_that_does_not_fit_exact_arithmetic_is_refused_by_aggregate() -> None:
    rows = [payment(number, BEGIN, amount=3e7) for number in range(2)]
    with pytest.raises(ConvergenceError, match="aggregate 'spread': std of 2 rows"):
        features(*rows, of=view(aggregate("spread", "std")))
    with pytest.raises(ConvergenceError, match="aggregate 'total': sum of 2 rows"):
        features(*(payment(n, BEGIN, amount=5e16) for n in range(2)), of=view(aggregate("total", "sum")))
    for amount in (float("nan"), float("inf"), 1e30):
        with pytest.raises(ConvergenceError, match="'amount' has values that are not finite or do not fit"):
            features(payment(0, BEGIN, amount=amount), of=view(aggregate("total", "sum")))


def test_missing_frames_and_columns_and_wrong_types_are_named() -> None:
    rows, declared = frame([payment(0, BEGIN)]), view(aggregate("n", "count", source="labels", where="flag"))
    with pytest.raises(ConvergenceError, match="reads labels; frames were given for payments"):
        compute(declared, {"payments": rows}, BEGIN, END)
    with pytest.raises(ConvergenceError, match="source 'labels' of feature view 'view' lacks flag"):
        compute(declared, {"payments": rows, "labels": rows.drop("flag")}, BEGIN, END)
    with pytest.raises(ConvergenceError, match="where column 'flag' is Int64, not Boolean"):
        compute(declared, {"payments": rows, "labels": rows.with_columns(flag=1).cast({"flag": pl.Int64})}, BEGIN, END)
    milliseconds = rows.with_columns(pl.col("event_time").dt.cast_time_unit("ms"))
    with pytest.raises(ConvergenceError, match=r"'event_time' is .*ms"):
        compute(declared, {"payments": milliseconds, "labels": rows}, BEGIN, END)
    unknown = rows.with_columns(arrived_at=pl.lit(None, rows.schema["arrived_at"]))
    with pytest.raises(ConvergenceError, match="'arrived_at' has 1 nulls"):
        compute(declared, {"payments": unknown, "labels": rows}, BEGIN, END)
    with pytest.raises(ConvergenceError, match="key columns customer differ in type"):
        compute(declared, {"payments": rows, "labels": rows.with_columns(pl.col("customer").cast(pl.Date))}, BEGIN, END)
