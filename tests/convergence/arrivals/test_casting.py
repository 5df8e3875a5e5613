"""Whatever type a value comes in, it lands exactly or waits with a reason, and nobody beside it waits."""

import json
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polars.testing.parametric import series

from convergence.arrivals.acceptance import Sorted, sort_out
from convergence.arrivals.casting import exactly
from convergence.arrivals.codecs import CODECS
from tests.convergence.arrivals.kinds import KINDS, OFFERED, as_file, is_said, offered_values, topic_of
from tests.convergence.arrivals.landing import message


def held(result: Sorted) -> tuple[dict[tuple[str, int], Any], dict[tuple[str, int], str]]:
    """By source and offset: the value of each row that has landed, and why each other one waits."""
    landed = {(source, at): value for source, at, value in result.accepted.select("source", "offset", "value").rows()}
    waiting = {(source, at): why for source, at, why in result.rejected.select("source", "offset", "reason").rows()}
    assert result.accepted.height + result.rejected.height == len(landed) + len(waiting)
    assert not landed.keys() & waiting.keys()
    return landed, waiting


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_of_any_type_lands_exactly_or_waits_with_a_reason(kind: str) -> None:
    result = sort_out(topic_of(kind), {there: as_file(column) for there, column in OFFERED.items()})
    landed, waiting = held(result)
    assert sorted([*landed, *waiting]) == sorted((n, at) for n, column in OFFERED.items() for at in range(len(column)))
    wanted = result.accepted.schema["value"]
    wrong = []
    for there, column in OFFERED.items():
        for at, offered in enumerate(offered_values(column)):
            if (there, at) in waiting:
                is_right = offered is not None and waiting[there, at].startswith(f"value: not a {wanted}: ")
            elif (accepted := landed[there, at]) is None or offered is None:
                is_right = accepted is offered
            else:
                is_right = is_said(accepted, wanted, offered, column.dtype)
            wrong += [] if is_right else [(there, offered, landed.get((there, at)), waiting.get((there, at)))]
    assert wrong == []


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(sorted(KINDS)), column=series(min_size=1, max_size=6))
def test_a_value_drawn_from_any_type_lands_exactly_or_waits_with_a_reason(kind: str, column: pl.Series) -> None:
    result = sort_out(topic_of(kind), {"file/x": as_file(column)})
    landed, waiting = held(result)
    wanted = result.accepted.schema["value"]
    assert len(landed) + len(waiting) == len(column)
    for at, offered in enumerate(offered_values(column)):
        if why := waiting.get(("file/x", at)):
            assert why.startswith(f"value: not a {wanted}: ")
        elif (accepted := landed["file/x", at]) is None or offered is None:
            assert accepted is offered
        else:
            assert is_said(accepted, wanted, offered, column.dtype), (accepted, offered)


@pytest.mark.parametrize("text", ["1e999999", "-1e9999999", "1e-9999999", f"1.{'0' * 420}1"])
def test_a_number_with_more_digits_than_any_decimal_waits(text: str) -> None:
    column = pl.Series([text, "1.50"])
    assert exactly(column, pl.Decimal(10, 2)).to_list() == [None, Decimal("1.50")]


@pytest.mark.parametrize("point", ["", ".", ".0", ".000000000000000000"])
def test_an_integer_that_no_float_is_waits_however_it_is_written(point: str) -> None:
    column = pl.Series([f"9007199254740993{point}", f"9007199254740992{point}", f"-1{point}"])
    assert exactly(column, pl.Float64()).to_list() == [None, 9007199254740992.0, -1.0]


WORDS = OFFERED["String"].drop_nulls().to_list()
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**70), 2**70).map(str),
    st.decimals(-(10**9), 10**9, places=4).map(str),
    st.sampled_from(["9007199254740993", "9007199254740993.0", "12345678.91", "0.10000000000000001", "1e2", "-0"]),
)
values = st.one_of(numbers, st.sampled_from(["true", "false", "null", "[1]", '{"a":[]}', *map(json.dumps, WORDS)]))


@settings(deadline=None, max_examples=40)
@given(kind=st.sampled_from(sorted(KINDS)), batch=st.lists(values, min_size=1, max_size=12))
@example(kind="Int64", batch=["9007199254740993.5", "9007199254740993.0", "1"])
@example(kind="Float64", batch=["9007199254740993", "9007199254740992", "0.1"])
@example(kind="Decimal", batch=["12345678.905", "12345678.91", "0.10000000000000001"])
@example(kind="String", batch=['{"no UTF-8, escaped": "a"}', "[1]", '"[1]"'])
def test_a_value_of_a_json_message_lands_exactly_or_waits_with_a_reason(kind: str, batch: list[str]) -> None:
    topic = topic_of(kind)
    sent = [json.dumps(message(n))[:-1].encode() + f', "value": {value}}}'.encode() for n, value in enumerate(batch)]
    result = sort_out(topic, {"kafka/x": CODECS["json"](sent, range(len(sent)), topic.columns)})
    landed, waiting = held(result)
    wanted = result.accepted.schema["value"]
    assert len(landed) + len(waiting) == len(batch)
    for at, value in enumerate(batch):
        offered = json.loads(value, parse_float=Decimal)
        if why := waiting.get(("kafka/x", at)):
            assert why.startswith(f"value: not a {wanted}: ")
        elif (accepted := landed["kafka/x", at]) is None or offered is None:
            assert accepted is offered
        else:
            accepted = accepted.decode() if isinstance(accepted, bytes) else accepted
            is_real = isinstance(offered, Decimal) and isinstance(accepted, float | str)
            said = value if is_real and isinstance(accepted, float) else float(value) if is_real else offered
            assert is_said(accepted, wanted, said, pl.String()), (accepted, offered)
