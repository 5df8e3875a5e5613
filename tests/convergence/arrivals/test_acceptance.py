"""What was said beside a message, and the versions that a topic reads; the rest is shown by test_lander."""

from datetime import UTC, datetime, timedelta

import pandera.polars as pa
import polars as pl
import pytest

from convergence.arrivals.acceptance import REJECTED, sort_out
from convergence.arrivals.codecs import BROKEN, CODECS, Messages
from convergence.arrivals.topics import BROKER_TIME, SCHEMA_VERSION, with_beside
from tests.convergence.arrivals.landing import NOON, TOPIC, Message, message, topic_with
from tests.convergence.arrivals.logs import value_of

BROKER = NOON + timedelta(minutes=7)


def read(*messages: Message | str | None) -> Messages:
    return CODECS["json"]([value_of(m) for m in messages], range(len(messages)), TOPIC.columns)


def said(**columns: list[object]) -> pl.DataFrame:
    names = {"version": SCHEMA_VERSION, "time": BROKER_TIME}
    kinds = {SCHEMA_VERSION: pl.String(), BROKER_TIME: pl.Datetime("us", "UTC")}
    found = {names[name]: values for name, values in columns.items()}
    height = len(next(iter(found.values())))
    return pl.DataFrame({"offset": range(height), **found}, schema_overrides={k: kinds[k] for k in found})


@pytest.mark.parametrize(("version", "accepted"), [(None, True), (1, True), ("1", True), (2, True), (3, False)])
def test_a_topic_reads_the_versions_that_it_names(version: object, accepted: bool) -> None:
    topic = topic_with(schema_versions=frozenset({1, 2}))
    result = sort_out(topic, {"x": read(message(1, schema_version=version))})
    assert result.accepted.height == accepted
    assert result.rejected["reason"].to_list() == ([] if accepted else ["schema_version 3: this topic reads 1, 2"])


def test_the_header_counts_before_the_value_and_each_for_its_own_message() -> None:
    messages = read(message(1, schema_version=9), message(2, schema_version=9), message(3))
    result = sort_out(TOPIC, {"x": with_beside(messages, said(version=["1", None, "8"]))})
    assert result.accepted["payment_id"].to_list() == [1]
    assert result.rejected["reason"].to_list() == [f"schema_version {n}: this topic reads 1" for n in (9, 8)]


def test_the_brokers_time_counts_only_where_no_lateness_is_assumed_and_nothing_was_said() -> None:
    own = message(2, arrived_at=NOON.isoformat())
    messages = with_beside(read(message(1), own), said(time=[BROKER, BROKER]))
    assumed, of_broker = (sort_out(topic_with(assumed_lateness=a), {"x": messages}) for a in (timedelta(0), None))
    assert assumed.accepted["arrived_at"].to_list() == [NOON, NOON]
    assert of_broker.accepted["arrived_at"].to_list() == [BROKER, NOON]


@pytest.mark.parametrize(("ahead", "accepted"), [(5, True), (6, False), (120, False)])
def test_an_event_of_the_future_is_rejected_above_the_clock_skew(ahead: int, accepted: bool) -> None:
    time = BROKER + timedelta(minutes=ahead)
    messages = with_beside(read(message(1, event_time=time.isoformat())), said(time=[BROKER]))
    assert sort_out(topic_with(assumed_lateness=None), {"x": messages}).accepted.height == accepted


def test_without_a_time_of_the_broker_a_message_that_says_none_is_rejected() -> None:
    result = sort_out(topic_with(assumed_lateness=None), {"x": read(message(1))})
    assert "arrived_at: not_nullable" in result.rejected["reason"].item()


def test_what_was_said_beside_a_rejected_message_is_kept_readable_or_not() -> None:
    messages = with_beside(
        read(message(1), message(2, amount=-1), "{", None), said(version=["1"] * 4, time=[BROKER] * 4)
    )
    rejected = sort_out(TOPIC, {"x": messages, "y": read(message(3, amount=-1))}).rejected
    assert rejected.schema == REJECTED
    assert rejected.select("offset", SCHEMA_VERSION, "broker_time").rows() == [
        *((n, "1", datetime.fromtimestamp(BROKER.timestamp(), UTC)) for n in (1, 2, 3)),
        (0, None, None),
    ]


def test_a_batch_without_any_message_is_sorted_into_nothing() -> None:
    result = sort_out(TOPIC, {"x": read()})
    assert (result.accepted.height, result.late.height, result.rejected.height) == (0, 0, 0)


def test_a_rule_that_fails_instead_of_judging_costs_the_rows_it_fails_on() -> None:
    class Fragile(TOPIC.contract):
        @pa.dataframe_check
        @classmethod
        def says_its_note(cls, data: pa.PolarsData) -> pl.LazyFrame:
            return data.lazyframe.select(pl.col("note").str.to_integer(strict=True) > 0)

    values = [message(1, note="1"), message(2, note="x"), message(3, note="3"), message(4, note="-1")]
    result = sort_out(topic_with(contract=Fragile), {"x": read(*values), "y": read(message(5, note="5", amount=-1))})
    assert result.accepted["payment_id"].to_list() == [1, 3]
    assert [bool(why) for why in result.rejected["reason"]] == [True] * 3
    assert result.rejected.select("source", "offset").rows() == [("x", 1), ("x", 3), ("y", 0)]


def test_a_schema_version_of_any_type_is_judged_and_kept() -> None:
    versions = {"bytes": b"1", "list": [1], "float": 1.0, "not text": b"\xff"}
    files = {
        name: Messages(
            pl.DataFrame([message(1) | {"schema_version": version}]).with_columns(offset=pl.lit(0, pl.Int64)),
            pl.DataFrame(schema=BROKEN),
        )
        for name, version in versions.items()
    }
    result = sort_out(TOPIC, files)
    assert result.accepted["source"].to_list() == ["bytes", "float"]
    assert result.rejected["reason"].to_list() == [
        'schema_version: not a Int64: List(Int64) "[1]"',
        'schema_version: not a Int64: Binary "{\\"no UTF-8, escaped\\": \\"\\\\\\\\xff\\"}"',
    ]
