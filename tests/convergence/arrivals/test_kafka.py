"""Reading a real broker: each message of the log once, whatever its shape, and a loss is told, never skipped."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from convergence.arrivals.kafka import Kafka
from convergence.arrivals.lander import Lander
from convergence.errors import ArrivalError, BrokerUnreachable
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from tests.convergence.arrivals.landing import HOUR, LATE, REJECTED, TABLE, TOPIC, message, places, rows
from tests.convergence.arrivals.logs import (
    MADE,
    delete,
    forget,
    ids,
    kafka_of,
    landed_from,
    make_anew,
    new_topic,
    numbers,
    produce,
    transaction,
)


def ends(lake: Lake, table: str = TABLE) -> list[int]:
    """How far the newest commit of each landing reached."""
    return [end for commit in lake.commits(table) for _, end in commit.manifest["offsets"].values()]


# What is read


def test_a_bounded_read_takes_what_was_there_at_its_start_and_no_more(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(10))
    lander = Lander(lake, topic, MADE)
    batches = kafka_of(kafka).batches(topic, lander.landed, rows=4)
    first = next(batches)
    produce(kafka, topic, numbers(10, 20))
    spans = [arrived.span for batch in [first, *batches] for arrived in batch]
    assert [(s.start, s.end) for s in spans] == [(0, 4), (4, 8), (8, 10)]
    landed_from(kafka, lake, topic)
    assert ids(lake) == list(range(20))


@pytest.mark.parametrize("batch_rows", [1, 7, 10_000])
def test_several_partitions_are_landed_in_batches_of_any_size(kafka: KafkaBroker, lake: Lake, batch_rows: int) -> None:
    topic = new_topic(kafka, partitions=3)
    for partition, span in enumerate([(0, 20), (100, 103), (200, 200)]):
        produce(kafka, topic, numbers(*span), partition)
    result = landed_from(kafka, lake, topic, batch_rows=batch_rows)
    assert result.messages == result.accepted == 23
    assert ids(lake) == [*range(20), *range(100, 103)]
    assert result.commits == -(-23 // batch_rows)
    assert landed_from(kafka, lake, topic).messages == 0


def test_each_partition_goes_on_where_it_has_landed(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka, partitions=2)
    for start in (0, 10, 20):
        produce(kafka, topic, numbers(start, start + 5), partition=0)
        produce(kafka, topic, numbers(start + 5, start + 10 if start else 5), partition=1)
        landed_from(kafka, lake, topic)
    assert ids(lake) == [*range(5), *range(10, 30)]
    assert max(places(lake).values()) == 1


def test_an_empty_topic_and_a_missing_one_offer_nothing(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    missing = replace(topic, name="shop.nowhere")
    assert [landed_from(kafka, lake, t).messages for t in (topic, missing)] == [0, 0]
    assert lake.open(TABLE) is None


# Transactions


def test_an_aborted_transaction_is_never_shown_and_its_end_is_reached(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(3))
    transaction(kafka, topic, numbers(100, 110), commit=False)
    produce(kafka, topic, numbers(3, 6))
    transaction(kafka, topic, numbers(6, 9), commit=True)
    transaction(kafka, topic, numbers(200, 210), commit=False)
    landed_from(kafka, lake, topic)
    assert ids(lake) == list(range(9))
    assert ends(lake)[-1] == 3 + 11 + 3 + 4 + 11
    assert landed_from(kafka, lake, topic).commits == 0


@pytest.mark.parametrize("batch_rows", [1, 2])
def test_markers_between_batches_cost_nothing(kafka: KafkaBroker, lake: Lake, batch_rows: int) -> None:
    topic = new_topic(kafka)
    for start in range(0, 6, 2):
        transaction(kafka, topic, numbers(start, start + 2), commit=True)
        transaction(kafka, topic, numbers(100, 103), commit=False)
    result = landed_from(kafka, lake, topic, batch_rows=batch_rows)
    assert ids(lake) == list(range(6))
    assert result.messages == 6


def test_a_log_of_nothing_but_an_aborted_transaction_lands_its_end(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    transaction(kafka, topic, numbers(5), commit=False)
    landed_from(kafka, lake, topic)
    assert (ids(lake), ends(lake)) == ([], [6])
    produce(kafka, topic, numbers(2))
    landed_from(kafka, lake, topic)
    assert (ids(lake), ends(lake)) == ([0, 1], [6, 8])


# What a message says, in its value and beside it


def test_a_tombstone_is_set_aside_and_the_others_land(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, [message(1), None, b"", message(2)])
    landed_from(kafka, lake, topic)
    assert ids(lake) == [1, 2]
    assert dict(rows(lake, REJECTED).select("offset", "reason").rows()) == {
        1: "no value (tombstone)",
        2: "not a JSON object",
    }


@pytest.mark.parametrize("where", ["header", "value"])
def test_an_unknown_schema_version_is_rejected_with_its_number(kafka: KafkaBroker, lake: Lake, where: str) -> None:
    topic = new_topic(kafka)
    versions: list[int | None] = [1, 7, None]
    if where == "value":
        produce(kafka, topic, [message(n, schema_version=v) for n, v in enumerate(versions)])
    else:
        headers = [v and {"schema_version": str(v).encode()} for v in versions]
        produce(kafka, topic, numbers(3), headers=headers)  # pyright: ignore[reportArgumentType]
    landed_from(kafka, lake, topic)
    assert ids(lake) == [0, 2]
    assert rows(lake, REJECTED).select("offset", "reason").rows() == [(1, "schema_version 7: this topic reads 1")]


def test_a_header_of_one_message_does_not_hide_what_another_says_in_its_value(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, [message(1), message(2, schema_version=7)], headers=[{"schema_version": b"1"}, None])
    landed_from(kafka, lake, topic)
    assert ids(lake) == [1]


@pytest.mark.parametrize(("header", "kept"), [(b"two", "two"), (b"\xff", "no UTF-8, in hex: ff"), (b"", "")])
def test_a_header_that_is_no_number_is_rejected_and_kept(
    kafka: KafkaBroker, lake: Lake, header: bytes, kept: str
) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, [message(1), message(2)], headers=[{"schema_version": header}, {"trace": b"\xff"}])
    landed_from(kafka, lake, topic)
    assert ids(lake) == [2]
    assert rows(lake, REJECTED).select("reason", "schema_version").rows() == [
        (f'schema_version: not a Int64: "{kept}"', kept)
    ]


def test_of_a_message_without_a_value_the_key_is_kept(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, [message(1), None, message(3)])
    landed_from(kafka, lake, topic)
    assert ids(lake) == [1, 3]
    assert rows(lake, REJECTED).select("reason", "row").rows() == [("no value (tombstone)", "no value, of key: key 1")]


def test_an_extra_field_is_left_out_and_a_missing_one_is_rejected(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, [message(1) | {"channel": "web"}, message(2, amount=None)])
    result = landed_from(kafka, lake, topic)
    assert (result.accepted, result.rejected) == (1, 1)
    assert "channel" not in rows(lake, TABLE).columns
    assert json.loads(rows(lake, REJECTED)["row"].item()) == message(2, amount=None)


# The broker's time


def recent(number: int, ago: timedelta) -> dict[str, object]:
    return message(number, event_time=(datetime.now(UTC) - ago).isoformat())


def test_the_brokers_time_is_arrived_at_where_no_lateness_is_assumed(kafka: KafkaBroker, lake: Lake) -> None:
    today = datetime.now(UTC).date()
    days: dict[str, Any] = {"first_day": today - timedelta(days=3), "last_day": today + timedelta(days=1)}
    topic = new_topic(kafka, assumed_lateness=None, **days)
    before = datetime.now(UTC)
    said = (before - HOUR).isoformat()
    produce(
        kafka,
        topic,
        [recent(1, HOUR), recent(2, 3 * HOUR), recent(3, -2 * HOUR), recent(4, HOUR) | {"arrived_at": said}],
    )
    landed_from(kafka, lake, topic)
    arrived = dict(rows(lake, TABLE).select("payment_id", "arrived_at").iter_rows())
    assert before - timedelta(seconds=1) <= arrived[1] <= datetime.now(UTC)
    assert arrived[4] == datetime.fromisoformat(said)
    assert ids(lake, LATE) == [2]
    assert rows(lake, REJECTED).select("offset", "reason").rows() == [
        (2, "event_time is more than 0:05:00 after arrived_at")
    ]


# What is lost


def test_messages_that_retention_took_are_counted_and_stop_the_landing(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(120))
    landed_from(kafka, lake, topic)
    produce(kafka, topic, numbers(120, 600))
    forget(kafka, topic, before=500)
    with pytest.raises(ArrivalError, match=r"up to offset 120 and now starts at 500: 380 messages are gone"):
        landed_from(kafka, lake, topic)
    assert ids(lake) == list(range(120))


def test_an_accepted_loss_is_in_the_manifest_of_the_commit_that_passed_it_and_in_no_other(
    kafka: KafkaBroker, lake: Lake
) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(10))
    landed_from(kafka, lake, topic)
    produce(kafka, topic, numbers(10, 30))
    forget(kafka, topic, before=25)
    landed_from(kafka, lake, topic, accept_loss=True, batch_rows=3)
    assert ids(lake) == [*range(10), *range(25, 30)]
    lost = [commit.manifest.get("lost") for commit in lake.commits(TABLE)]
    assert ["15 messages are gone" in str(loss) for loss in lost] == [False, True, False]
    assert landed_from(kafka, lake, topic).messages == 0


def test_messages_gone_before_a_first_landing_are_no_loss(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(10))
    forget(kafka, topic, before=4)
    landed_from(kafka, lake, topic)
    assert ids(lake) == list(range(4, 10))


@pytest.mark.parametrize("anew", [0, 3, 10, 20], ids=lambda n: f"{n} messages in the new log")
def test_a_topic_made_anew_is_a_hard_stop_and_goes_on_under_a_name_of_its_own(
    kafka: KafkaBroker, lake: Lake, anew: int
) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(10))
    landed_from(kafka, lake, topic)
    make_anew(kafka, topic)
    produce(kafka, topic, numbers(100, 100 + anew))
    with pytest.raises(ArrivalError, match="was deleted and made anew"):
        landed_from(kafka, lake, topic)
    landed_from(kafka, lake, topic, accept_loss=True)
    assert ids(lake) == [*range(10), *range(100, 100 + anew)]
    assert rows(lake, TABLE).select("source", "offset").is_unique().all()
    if anew:
        assert landed_from(kafka, lake, topic).messages == 0


def test_a_topic_that_is_gone_is_an_error_once_something_of_it_has_landed(kafka: KafkaBroker, lake: Lake) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, numbers(1))
    landed_from(kafka, lake, topic)
    delete(kafka, topic)
    with pytest.raises(ArrivalError, match=f"has no topic {topic.name}, of which messages have landed"):
        landed_from(kafka, lake, topic)


def test_a_broker_that_is_down_is_said_within_its_time(lake: Lake) -> None:
    began = time.monotonic()
    with pytest.raises(BrokerUnreachable, match=r"kafka 127\.0\.0\.1:1 did not answer in 1 s: start it"):
        Kafka("127.0.0.1:1", timeout=1).offered(TOPIC, Lander(lake, TOPIC, MADE).landed)
    assert time.monotonic() - began < 3
