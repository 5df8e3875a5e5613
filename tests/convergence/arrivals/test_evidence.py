"""What quarantine keeps of a row or a message is all of it, and can be tried again."""

import json
import math
import re
from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.arrivals.codecs import BROKEN, Messages
from convergence.arrivals.evidence import lines, refusals
from convergence.arrivals.kafka_messages import Held, decode
from convergence.arrivals.lander import Lander
from convergence.arrivals.topics import Arrived, Span
from convergence.lake.tables import Lake
from tests.convergence.arrivals.kinds import OFFERED, as_file, topic_of
from tests.convergence.arrivals.landing import REJECTED, TOPIC, rows, topic_with
from tests.convergence.arrivals.logs import MADE
from tests.convergence.arrivals.test_rejected import reasons, tried


def of_a_file(rows: pl.DataFrame) -> Messages:
    return Messages(rows.with_columns(offset=pl.int_range(pl.len())), pl.DataFrame(schema=BROKEN))


@pytest.mark.parametrize("there", OFFERED)
def test_two_values_of_a_column_are_never_kept_as_the_same_text(there: str) -> None:
    column = OFFERED[there]
    different = len({repr(value) for value in column.to_physical()} if column.dtype.is_temporal() else column.unique())
    kept = lines(column.alias("value").to_frame())
    assert len(set(kept)) >= different
    assert all(json.loads(line, parse_constant=pytest.fail).keys() == {"value"} for line in kept)


def test_bytes_infinity_and_nanoseconds_are_kept_as_they_were() -> None:
    time = pl.Series("time", [1_704_456_000_123_456_789], pl.Int64).cast(pl.Datetime("ns"))
    frame = pl.DataFrame({"bytes": [b"a\xff\\xff"], "text": [b"caf\xc3\xa9"], "most": [math.inf], "none": [math.nan]})
    nested = pl.DataFrame({"in": [{"a": [b"\xff"], "b": [timedelta(days=1)]}]})
    assert [json.loads(line) for line in lines(pl.concat([frame, nested, time.to_frame()], how="horizontal"))] == [
        {
            "bytes": {"no UTF-8, escaped": r"a\xff\\xff"},
            "text": "café",
            "most": "Infinity",
            "none": "NaN",
            "in": {"a": [{"no UTF-8, escaped": r"\xff"}], "b": [{"us": 86_400_000_000}]},
            "time": "2024-01-05T12:00:00.123456789",
        }
    ]


@given(st.binary(max_size=20))
def test_bytes_can_be_told_from_what_is_kept_of_them(value: bytes) -> None:
    kept = json.loads(lines(pl.DataFrame({"bytes": [value]}))[0])["bytes"]
    if isinstance(kept, str):
        assert kept.encode() == value
    else:
        escaped = kept["no UTF-8, escaped"].encode()
        plain = re.sub(rb"\\(\\|x([0-9a-f]{2}))", lambda m: bytes.fromhex(m[2].decode()) if m[2] else b"\\", escaped)
        assert plain == value


def test_a_long_value_is_cut_in_the_reason() -> None:
    said = refusals(pl.Series("value", [[1] * 1000, [2]]), pl.Int64())
    assert [len(text) < 200 for text in said] == [True, True]
    assert said[1] == 'value: not a Int64: List(Int64) "[2]"'


def rejected(lake: Lake, messages: Messages, topic=TOPIC) -> None:
    height = messages.rows.height + messages.broken.height
    arrived = Arrived(Span("file/shop.payments/x", 0, height, "here"), lambda: messages)
    Lander(lake, topic, MADE).land([arrived])


@pytest.mark.parametrize(
    ("value", "landed"),
    [(math.nan, True), (math.inf, True), (b"caf\xc3\xa9", True), (b"\xff", False), ([1, 2], False), (0.1, True)],
)
def test_a_rejected_row_of_a_file_is_tried_again_as_what_it_was(lake: Lake, value: object, landed: bool) -> None:
    kind = "Float64" if isinstance(value, float) else "String"
    broken = as_file(pl.Series([value])).rows.drop("offset").with_columns(amount=-1.0)
    rejected(lake, of_a_file(broken), topic_of(kind))
    before = rows(lake, REJECTED)["row"].to_list()

    class Generous(topic_of(kind).contract):
        amount: float

    fixed = topic_with(contract=Generous)
    result = tried(lake, fixed)
    assert (result.accepted, result.rejected) == (landed, not landed)
    if landed:
        found = rows(lake, TOPIC.table)["value"].item()
        assert repr(found) == repr(value.decode() if isinstance(value, bytes) else value)
    else:
        assert reasons(lake, fixed)[0].startswith("value: not a String: ")
        assert rows(lake, REJECTED)["row"].to_list() == before * 2


def test_the_key_of_a_message_without_a_value_is_kept_however_often_it_is_tried(lake: Lake) -> None:
    keys = {0: b'{"ID": 4711}', 1: b"\xff"}
    rejected(lake, decode(TOPIC, Held([None] * 3, [0, 1, 2], keys, [None] * 3)))
    kept = ['no value, of key: {"ID": 4711}', "no value, of key: no UTF-8, in hex: ff", None]
    assert rows(lake, REJECTED).sort("offset")["row"].to_list() == kept
    assert tried(lake).rejected == 3
    assert reasons(lake) == ["no value (tombstone)"] * 3
    assert rows(lake, REJECTED).sort("source", "offset")["row"].to_list() == kept * 2
