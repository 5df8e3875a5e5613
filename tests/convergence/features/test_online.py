import random
from datetime import UTC, datetime, timedelta
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import ConvergenceError
from convergence.features.online import OnlineView
from convergence.features.online_expressions import RowExpressions
from convergence.features.online_state import DAY, EntityState, StateMismatch, fingerprint
from convergence.features.views import FeatureView, RowExpression
from convergence.features.windows import compute
from tests.convergence.features.oracle import Row
from tests.convergence.features.test_windows import BEGIN, END, HOUR, VIEW, aggregate, frame, payment, payments, view

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SCHEMAS = {name: frame([]).schema for name in ("payments", "labels")}
FLOOR = (BEGIN - EPOCH) // timedelta(microseconds=1)


def unique(rows: list[Row]) -> list[Row]:
    return list({row["id"]: row for row in rows}.values())


def online_rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    return table.with_columns(pl.col("event_time", "arrived_at").dt.epoch("us")).to_dicts()


def states_of(online: OnlineView, *batches: dict[str, pl.DataFrame]) -> dict[Any, EntityState]:
    """The states after batches of rows; each is written and read as the store would."""
    layout, held = online.layout, {}
    for version, frames in enumerate(batches):
        for entity in layout.entities:
            new: dict[Any, dict[str, Any]] = {}
            for source in layout.sources(entity):
                for key, rows in layout.matrices(entity, source, frames[source]):
                    new.setdefault(key, {})[source] = rows
            for key, rows in new.items():
                before = held.get((entity, key))
                state = layout.changed(entity, before, rows, (), floor=FLOOR, version=version)
                held[entity, key] = layout.unpack(entity, layout.pack(entity, state))
    return held


def expected(of: FeatureView, frames: dict[str, pl.DataFrame]) -> tuple[pl.DataFrame, np.ndarray]:
    made = compute(of, frames, BEGIN - timedelta(days=1), END)
    return made, made.select(pl.col(of.features).cast(pl.Float64).fill_null(float("nan"))).to_numpy()


def cut(rows: list[Row], pieces: int, seed: int) -> list[list[Row]]:
    chance = random.Random(seed)
    parts: list[list[Row]] = [[] for _ in range(pieces)]
    for row in rows:
        chance.choice(parts).append(row)
    return parts


@settings(max_examples=80, deadline=None)
@given(payments(), payments(), st.sampled_from((pl.Int64, pl.String)), st.integers(1, 3), st.integers(0, 99))
def test_features_from_states_equal_those_of_the_batch_bit_for_bit(
    rows: list[Row], labels: list[Row], key: Any, pieces: int, seed: int
) -> None:
    rows, labels = unique(rows), unique(labels)
    schemas = {name: frame([], key).schema for name in ("payments", "labels")}
    online = OnlineView(VIEW, schemas)
    parts = zip(cut(rows, pieces, seed), cut(labels, pieces, seed), strict=True)
    states = states_of(online, *({"payments": frame(a, key), "labels": frame(b, key)} for a, b in parts))
    made, values = expected(VIEW, {"payments": frame(rows, key), "labels": frame(labels, key)})
    asked = {row["id"]: row for row in online_rows(frame(rows, key))}
    got = online.vectors([asked[number] for number in made["id"]], states)
    np.testing.assert_array_equal(got, values)


@settings(max_examples=50, deadline=None)
@given(payments(), payments())
def test_a_row_that_no_state_holds_yet_counts_itself(rows: list[Row], labels: list[Row]) -> None:
    rows, labels = unique(rows), unique(labels)
    made, values = expected(VIEW, {"payments": frame(rows), "labels": frame(labels)})
    online = OnlineView(VIEW, SCHEMAS)
    for number, value in zip(made["id"], values, strict=True):
        others = [row for row in rows if row["id"] != number]
        states = states_of(online, {"payments": frame(others), "labels": frame(labels)})
        (asked,) = [row for row in online_rows(frame(rows)) if row["id"] == number]
        np.testing.assert_array_equal(online.vectors([asked], states)[0], value)


@settings(max_examples=50, deadline=None)
@given(payments(), st.integers(0, 99))
def test_the_same_rows_again_leave_the_same_bytes(rows: list[Row], seed: int) -> None:
    online, rows = OnlineView(VIEW, SCHEMAS), unique(rows)
    whole = {"payments": frame(rows), "labels": frame([])}
    part = {"payments": frame(cut(rows, 2, seed)[0]), "labels": frame([])}
    once, again = states_of(online, whole), states_of(online, whole, part)
    assert once.keys() == again.keys()
    for (entity, key), state in once.items():
        later = again[entity, key]
        as_of_one = EntityState(state.version, later.newest, later.rows)
        assert online.layout.pack(entity, as_of_one) == online.layout.pack(entity, state)


def test_a_correction_takes_the_place_of_what_it_corrects_and_leaves_the_entity_that_it_was_wrong_about() -> None:
    one = view(aggregate("sum_1d", "sum", window=24 * HOUR))
    online = OnlineView(one, {"payments": SCHEMAS["payments"]})
    wrong = payment(1, BEGIN, customer=1, amount=5.0)
    right = payment(1, BEGIN, arrived=BEGIN + HOUR, customer=2, amount=7.0)
    layout, entity = online.layout, ("customer",)
    states = states_of(online, {"payments": frame([wrong])})
    gone = {(FLOOR // DAY, 1)}
    kept = layout.changed(entity, states[entity, (1,)], {}, gone, floor=FLOOR, version=1)
    assert kept.rows["payments"].shape[1] == 0
    (new,) = layout.matrices(entity, "payments", frame([right]))
    states = {(entity, (1,)): kept, (entity, new[0]): layout.changed(entity, None, {"payments": new[1]}, gone,
                                                                     floor=FLOOR, version=1)}  # fmt: skip
    asked = [payment(n, BEGIN + 2 * HOUR, customer=n, amount=0.0) for n in (1, 2)]
    assert online.vectors(online_rows(frame(asked)), states)[:, 0].tolist() == [0.0, 7.0]


def test_rows_beyond_the_longest_window_are_let_go_and_none_that_a_window_reaches() -> None:
    one = view(aggregate("count_1h", "count"), aggregate("delayed", "count", delay=HOUR))
    online = OnlineView(one, {"payments": SCHEMAS["payments"]})
    rows = [payment(n, BEGIN - timedelta(microseconds=ago)) for n, ago in enumerate((7_200_000_000, 7_199_999_999))]
    (state,) = states_of(online, {"payments": frame(rows)}).values()
    assert state.rows["payments"][2].tolist() == [1]


def test_an_unknown_entity_has_the_row_itself_and_nothing_else() -> None:
    online = OnlineView(VIEW, SCHEMAS)
    (values,) = online.vectors(online_rows(frame([payment(1, BEGIN, amount=2.5)])), {})
    named = dict(zip(VIEW.features, values.tolist(), strict=True))
    assert (named["count_1h"], named["sum_1h"], named["mean_1h"], named["label_count"]) == (1, 2.5, 2.5, 0)
    assert np.isnan(named["seconds_since_last_1h"])
    assert np.isnan(named["label_mean"])


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:10], lambda b: b"x" * len(b), lambda b: b + b"\0"])
def test_damaged_bytes_are_refused(damage: Any) -> None:
    online = OnlineView(VIEW, SCHEMAS)
    states = states_of(online, {"payments": frame([payment(1, BEGIN)]), "labels": frame([])})
    ((entity, _), state), *_ = states.items()
    with pytest.raises(StateMismatch, match="materialize the online state anew"):
        online.layout.unpack(entity, damage(online.layout.pack(entity, state)))


def test_bytes_of_another_view_are_refused_by_their_fingerprint() -> None:
    views = [view(aggregate("count", "count", window=hours * HOUR)) for hours in (1, 2)]
    one, other = (OnlineView(v, {"payments": SCHEMAS["payments"]}) for v in views)
    packed = one.layout.pack(
        ("customer",), next(iter(states_of(one, {"payments": frame([payment(1, BEGIN)])}).values()))
    )
    with pytest.raises(StateMismatch, match=other.layout.fingerprint):
        other.layout.unpack(("customer",), packed)


def test_a_fingerprint_follows_the_declaration_and_not_its_words() -> None:
    schemas = {"payments": SCHEMAS["payments"]}
    plain = view(aggregate("count", "count"), expressions=(RowExpression("twice", nw.col("amount") * 2, "Twice."),))
    worded = view(aggregate("count", "count"), expressions=(RowExpression("twice", nw.col("amount") * 2, "Double."),))
    thrice = view(aggregate("count", "count"), expressions=(RowExpression("twice", nw.col("amount") * 3, "Twice."),))
    typed = {"payments": pl.Schema({**SCHEMAS["payments"], "shop": pl.String()})}
    assert fingerprint(plain, schemas) == fingerprint(worded, schemas)
    assert len({fingerprint(plain, schemas), fingerprint(thrice, schemas), fingerprint(plain, typed)}) == 3


def test_sums_that_could_leave_64_bits_are_refused() -> None:
    one = view(aggregate("std", "std"))
    online = OnlineView(one, {"payments": SCHEMAS["payments"]})
    with pytest.raises(ConvergenceError, match="coarser resolution"):
        states_of(online, {"payments": frame([payment(1, BEGIN, amount=4e7)])})


NUMBERS = st.one_of(st.none(), st.sampled_from((0.0, -0.0, 1.0)), st.floats(-1e6, 1e6))
EXPRESSIONS = {
    "hour": nw.col("event_time").dt.hour(),
    "is_weekend": nw.col("event_time").dt.weekday() > 5,
    "is_night": nw.col("event_time").dt.hour() <= 6,
    "ratio": nw.col("amount") / nw.col("sum"),
    "of_ratio": nw.col("ratio") * 3 - nw.col("sum"),
    "reflected": 2.5 - nw.col("amount"),
    "inverse": 1 / nw.col("amount"),
    "same": nw.col("amount") == nw.col("sum"),
    "other": nw.col("amount") != 1,
}
FILLED = {"filled": nw.col("amount").fill_null(0.0)}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.datetimes(datetime(1950, 1, 1), datetime(2100, 1, 1)), NUMBERS, NUMBERS), max_size=5))
@pytest.mark.parametrize("kinds", [EXPRESSIONS, EXPRESSIONS | FILLED], ids=["compiled", "by Polars"])
def test_row_expressions_equal_those_of_polars(kinds: dict[str, Any], rows: list[tuple[Any, Any, Any]]) -> None:
    of = view(aggregate("sum", "mean"), expressions=tuple(RowExpression(n, e, "Test.") for n, e in kinds.items()))
    expressions = RowExpressions(of, SCHEMAS["payments"])
    assert expressions.compiled == (kinds is EXPRESSIONS)
    table = frame([payment(n, at.replace(tzinfo=UTC), amount=amount) for n, (at, amount, _) in enumerate(rows)])
    table = table.with_columns(sum=pl.Series([s for _, _, s in rows], dtype=pl.Float64))
    result = table
    for name, expression in kinds.items():
        result = nw.from_native(result).with_columns(expression.alias(name)).to_native()
    sums = table["sum"].fill_null(float("nan")).to_numpy()
    got = expressions.evaluate(online_rows(table), {"sum": sums})
    for values, name in zip(got, kinds, strict=True):
        np.testing.assert_array_equal(values, result[name].cast(pl.Float64).fill_null(float("nan")).to_numpy(), name)
