"""One rule for times: whoever reads a text, and whatever stands beside it, it is the same instant or none."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from convergence.arrivals.acceptance import sort_out
from convergence.arrivals.codecs import CODECS
from convergence.arrivals.times import instant, instants
from convergence.serving.use_case import RequestTime
from tests.convergence.arrivals.landing import TOPIC, message

NOON = datetime(2024, 1, 5, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-01-05T12:00:00Z", NOON),
        ("2024-01-05 12:00:00", NOON),
        ("2024-01-05T12:00", NOON),
        (" 2024-01-05T12:00:00.000001Z\n", NOON + TICK),
        ("2024-01-05T12:00:00.000001000Z", NOON + TICK),
        ("2024-01-05T12:00:00.0000011Z", None),
        ("2024-01-05T14:00:00+02:00", NOON),
        ("2024-01-05T11:30-0030", NOON),
        ("2024-01-05", NOON - timedelta(hours=12)),
        ("2016-12-31T23:59:60Z", None),
        ("2024-01-05T24:00:00Z", None),
        ("2023-02-29", None),
        ("2024-1-5", None),
        ("2024-01- 5T12:00:00Z", None),
        ("+2024-1-05T12:00:00Z", None),
        ("2024-01-05T12:00:00+24:00", None),
        ("2024-01-05T12:00:00+01:60", None),
        ("0000-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59.999999-00:01", None),
        ("+20000-01-01T00:00:00", None),
        ("1704456000", None),
        ("1704456000000", None),
        ("1704456000.5", None),
        ("", None),
        ("２０２４-01-05", None),
    ],
)
def test_a_text_is_a_time_to_the_microsecond_or_none(text: str, time: datetime | None) -> None:
    assert (instant(text), served(text)) == (time, time)
    assert instants(pl.Series([text, *["2024-01-05T12:00:00Z"] * 3, text])).to_list() == [time, *[NOON] * 3, time]


def served(said: object) -> datetime | None:
    try:
        return TypeAdapter(RequestTime).validate_python(said)
    except ValidationError:
        return None


sizes = st.integers(0, 99).map("{:02}".format)
written = st.builds(
    "{}{}{}{}:{}{}{}{}".format,
    st.sampled_from(["2024-01-05", "2024-02-29", "2023-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "2024-1-05"]),
    st.sampled_from(["T", " ", "t", "  "]),
    st.sampled_from(["", "", "", "+"]),
    *[st.sampled_from(["00", "12", "23", "24", "60", " 1", "1"])] * 2,
    st.sampled_from(["", ":00", ":59", ":60", ":1"]),
    st.sampled_from(["", ".0", ".123", ".123456", ".1234567", ".1234560", ","]),
    st.sampled_from(["", "Z", "z", "+00:00", "+0200", "-23:59", "+24:00", "+02", "-00:60", " "]),
)


@settings(deadline=None, max_examples=300)
@given(texts=st.lists(st.one_of(written, st.integers(0, 10**19).map(str), st.text(max_size=12)), max_size=9))
@example(texts=["2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z", "2016-12-31T23:59: 9Z"])
def test_landing_and_the_service_read_a_text_as_the_same_instant_or_refuse_it(texts: list[str]) -> None:
    alone = [instant(text) for text in texts]
    assert instants(pl.Series(texts, dtype=pl.String)).to_list() == alone
    assert [served(text) for text in texts] == alone


@pytest.mark.parametrize("said", [1704456000, 1704456000.0, 1704456000000, True, [2024], {"at": 1}, "1704456000", ""])
def test_what_is_no_text_is_no_time_in_a_message_a_file_and_a_request(said: object) -> None:
    columns = TOPIC.columns
    rows = {"kafka": CODECS["json"]([TypeAdapter(object).dump_json(message(1, event_time=said))], [0], columns)}
    if isinstance(said, int | float | str):
        rows["file"] = CODECS["json"]([], [], columns)
        frame = pl.DataFrame([message(1) | {"event_time": said}]).with_columns(offset=pl.lit(0, pl.Int64))
        rows["file"] = type(rows["file"])(frame, rows["file"].broken)
    result = sort_out(TOPIC, rows)
    assert [why.startswith("event_time: not a Datetime") for why in result.rejected["reason"]] == [True] * len(rows)
    assert served(said) is None
