"""What a replay to Kafka plans to send, and what the cluster holds of it afterwards."""

import json
import threading
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals.kafka import Kafka
from convergence.arrivals.lander import land
from convergence.arrivals.producer import DUPLICATE, LATE, MESSAGE, PLAN, POISON, Disorder, plan, send
from convergence.errors import ArrivalError
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from convergence.services.topics import create_topic
from tests.convergence.arrivals.landing import HOUR, TOPIC, topic_with

START = datetime(2024, 1, 1)
SHARES = st.floats(0, 1)
SEEDS = st.integers(0, 2**32)


def history(*minutes: int) -> pl.DataFrame:
    """One message at each of these minutes, numbered as they come."""
    return pl.DataFrame(
        {
            "ID": range(len(minutes)),
            "event_time": [START + timedelta(minutes=m) for m in minutes],
            "amount": [n / 100 for n in range(len(minutes))],
            "refunded": [n % 2 == 0 for n in range(len(minutes))],
            "note": [None if n % 5 == 0 else f'say "{n}" ü' for n in range(len(minutes))],
        },
        schema={
            "ID": pl.Int32,
            "event_time": pl.Datetime("us"),
            "amount": pl.Float64,
            "refunded": pl.Boolean,
            "note": pl.String,
        },
    )


HISTORIES = st.lists(st.integers(0, 13_000), max_size=40).map(lambda minutes: history(*minutes))
LONG = history(*range(0, 8_000, 8))


def read(value: bytes) -> dict[str, Any]:
    return json.loads(value)


def of_kind(planned: pl.DataFrame, *kinds: str) -> pl.DataFrame:
    return planned.filter(pl.col("kind").cast(pl.String).is_in(kinds))


@settings(deadline=None, max_examples=50)
@given(HISTORIES)
def test_an_orderly_replay_is_the_history_as_json_in_order_of_time(frame: pl.DataFrame) -> None:
    planned = plan(TOPIC, frame, Disorder())
    expected = [
        row
        | {
            "event_time": row["event_time"].isoformat() + "Z",
            "arrived_at": (row["event_time"] + HOUR).isoformat() + "Z",
        }
        for row in sorted(frame.to_dicts(), key=lambda row: row["event_time"])
    ]
    assert [read(value) for value in planned["value"]] == expected
    assert planned.schema == PLAN
    assert planned["sequence"].to_list() == [*range(frame.height)]
    assert planned["key"].to_list() == [str(row["ID"]) for row in expected]
    assert set(planned["kind"]) <= {MESSAGE}


@settings(deadline=None, max_examples=50)
@given(HISTORIES, SHARES, SEEDS)
def test_lateness_reorders_the_history_and_neither_adds_nor_drops_nor_alters_a_message(
    frame: pl.DataFrame, share: float, seed: int
) -> None:
    planned = plan(TOPIC, frame, Disorder(late=share, seed=seed))
    orderly = plan(TOPIC, frame, Disorder())
    sent, whole = ([read(value) for value in p["value"]] for p in (planned, orderly))
    for message in sent + whole:
        del message["arrived_at"]
    assert sorted(sent, key=lambda m: m["ID"]) == sorted(whole, key=lambda m: m["ID"])


@settings(deadline=None, max_examples=50)
@given(HISTORIES, SHARES, SHARES, SHARES, SEEDS)
def test_each_share_is_kept_to_the_message(
    frame: pl.DataFrame, duplicates: float, late: float, poison: float, seed: int
) -> None:
    kinds = Counter(plan(TOPIC, frame, Disorder(duplicates, late, poison, seed=seed))["kind"])
    messages = frame.height
    assert kinds[LATE] == round(late * messages)
    assert kinds[MESSAGE] == messages - kinds[LATE]
    assert (kinds[DUPLICATE], kinds[POISON]) == (round(duplicates * messages), round(poison * messages))


@settings(deadline=None, max_examples=50)
@given(HISTORIES, SHARES, SHARES, SHARES, SEEDS)
def test_messages_are_sent_in_order_of_arrival_and_say_when_that_was(
    frame: pl.DataFrame, duplicates: float, late: float, poison: float, seed: int
) -> None:
    planned = plan(TOPIC, frame, Disorder(duplicates, late, poison, seed=seed))
    assert planned["sent_at"].is_sorted()
    good = of_kind(planned, MESSAGE, LATE)
    said = [datetime.fromisoformat(read(value)["arrived_at"]) for value in good["value"]]
    assert said == good["sent_at"].to_list()
    for message, kind, arrived in zip(map(read, good["value"]), good["kind"], said, strict=True):
        delay = arrived - datetime.fromisoformat(message["event_time"]) - HOUR
        assert HOUR <= delay <= 72 * HOUR if kind == LATE else delay == timedelta(0)


@settings(deadline=None, max_examples=50)
@given(HISTORIES, SHARES, SHARES, SEEDS)
def test_a_duplicate_is_the_same_bytes_within_six_hours_after_the_first(
    frame: pl.DataFrame, duplicates: float, late: float, seed: int
) -> None:
    planned = plan(TOPIC, frame, Disorder(duplicates, late, seed=seed))
    first = {value: (n, at) for n, value, at in of_kind(planned, MESSAGE, LATE)["sequence", "value", "sent_at"].rows()}
    copies = of_kind(planned, DUPLICATE)
    assert copies["value"].is_unique().all()
    for number, value, at in copies["sequence", "value", "sent_at"].rows():
        assert number > first[value][0]
        assert timedelta(0) < at - first[value][1] <= 6 * HOUR


@settings(deadline=None, max_examples=50)
@given(HISTORIES, SHARES, SEEDS)
def test_equal_arguments_give_equal_plans(frame: pl.DataFrame, share: float, seed: int) -> None:
    disorder = Disorder(share, share, share, {"amount": 1.5}, seed)
    assert plan(TOPIC, frame, disorder).equals(plan(TOPIC, frame, disorder))


def test_another_seed_draws_other_messages() -> None:
    drawn = [of_kind(plan(TOPIC, LONG, Disorder(late=0.1, seed=seed)), LATE)["key"] for seed in (1, 2)]
    assert set(drawn[0]) != set(drawn[1])


def test_one_share_does_not_change_what_another_draws() -> None:
    alone, together = (plan(TOPIC, LONG, Disorder(d, 0.1, p, seed=3)) for d, p in ((0, 0), (0.2, 0.3)))
    assert set(of_kind(alone, LATE)["value"]) == set(of_kind(together, LATE)["value"])


def test_some_late_messages_are_too_late_for_the_topic_and_some_are_not() -> None:
    planned = of_kind(plan(topic_with(late_after=48 * HOUR), LONG, Disorder(late=0.2)), LATE)
    times = [(m["arrived_at"], m["event_time"]) for m in map(read, planned["value"])]
    beyond = [datetime.fromisoformat(a) - datetime.fromisoformat(e) > 48 * HOUR for a, e in times]
    assert 0.2 < sum(beyond) / len(beyond) < 0.5


def test_a_history_that_knows_its_arrivals_keeps_them() -> None:
    arrived = datetime(2024, 1, 9, 12, tzinfo=UTC)
    [value] = plan(TOPIC, history(0).with_columns(arrived_at=pl.lit(arrived)), Disorder())["value"]
    assert read(value)["arrived_at"] == "2024-01-09T12:00:00Z"


@pytest.mark.parametrize(
    ("column", "text"),
    [
        (pl.Series([START + timedelta(microseconds=1)], dtype=pl.Datetime("us")), "2024-01-01T00:00:00.000001Z"),
        (pl.Series([START], dtype=pl.Datetime("ms")), "2024-01-01T00:00:00Z"),
        (pl.Series([START]).dt.replace_time_zone("Europe/Paris"), "2023-12-31T23:00:00Z"),
        (pl.Series([date(2024, 1, 1)]), "2024-01-01"),
        (pl.Series([None], dtype=pl.Datetime("us")), None),
    ],
    ids=["microseconds", "milliseconds", "another zone", "date", "nothing"],
)
def test_times_are_iso_8601_in_utc(column: pl.Series, text: str | None) -> None:
    [value] = plan(TOPIC, history(0).with_columns(column.alias("at")), Disorder())["value"]
    assert read(value)["at"] == text


@pytest.mark.parametrize(("feature", "column"), [("amount", "amount"), ("payment_id", "ID"), ("ID", "ID")])
def test_a_shift_multiplies_one_column_under_either_of_its_names(feature: str, column: str) -> None:
    shifted, whole = (plan(TOPIC, LONG, Disorder(shift=s))["value"].to_list() for s in ({feature: 3}, None))
    expected = [m | {column: m[column] * 3 if column == "ID" else round(m[column] * 3, 2)} for m in map(read, whole)]
    assert [read(value) for value in shifted] == expected


def test_a_shifted_whole_number_stays_whole() -> None:
    values = plan(TOPIC, history(0, 1, 2), Disorder(shift={"ID": 1.4}))["value"]
    assert [json.dumps(read(value)["ID"]) for value in values] == ["0", "1", "3"]


@pytest.mark.parametrize(
    ("feature", "reason"),
    [("nothing", "no such column"), ("note", "String there"), ("refunded", "Boolean"), ("event_time", "Datetime")],
)
def test_a_shift_of_what_is_no_number_is_refused_with_those_that_are(feature: str, reason: str) -> None:
    with pytest.raises(ArrivalError, match=f"cannot shift {feature}: .*{reason}.*its numbers are payment_id, amount"):
        plan(TOPIC, LONG, Disorder(shift={feature: 2}))


def usable(value: bytes) -> bool:
    """Whether a message, read as strictly as JSON and the contract ask, says what a payment must say."""
    try:
        message = json.loads(value.decode())
        happened = datetime.fromisoformat(message["event_time"])
        within = TOPIC.first_day <= happened.date() <= TOPIC.last_day
        typed = type(message["ID"]) is int and type(message["refunded"]) is bool and message["amount"] >= 0
        return within and typed and message.get("schema_version", 1) == 1
    except (ValueError, TypeError, KeyError):
        return False


def test_no_poison_can_be_used_and_everything_else_can() -> None:
    planned = plan(TOPIC, LONG, Disorder(0.1, 0.1, 0.1))
    assert not any(map(usable, of_kind(planned, POISON)["value"]))
    assert all(map(usable, of_kind(planned, MESSAGE, LATE, DUPLICATE)["value"]))


def test_poison_comes_in_every_form() -> None:
    values = of_kind(plan(TOPIC, LONG, Disorder(poison=0.1)), POISON)["value"].to_list()
    forms = [b'"schema_version":999', b"9999-12-31", b"-0044-", b"\\u0000", b"\0", b'"twelve"', b"\xff"]
    assert [sum(form in value for value in values) > 0 for form in forms] == [True] * len(forms)
    assert b"" in values


def end_of(consumer: Consumer, part: TopicPartition, seconds: float = 60) -> int:
    """The end offset of a partition, which a broker that has just been restarted does not know at once."""
    until = time.monotonic() + seconds
    while True:
        try:
            return consumer.get_watermark_offsets(part, timeout=30)[1]
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > until:
                raise
            time.sleep(0.1)


def log_of(broker: KafkaBroker, topic: str, partitions: int = 3) -> dict[tuple[int, int], bytes]:
    """Every message by partition and offset."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "test", "enable.auto.commit": False})
    parts = [TopicPartition(topic, p, 0) for p in range(partitions)]
    consumer.assign(parts)
    total = sum(end_of(consumer, part) for part in parts)
    found = (
        {(m.partition(), m.offset()): m.value() or b"" for m in consumer.consume(total, timeout=30)} if total else {}
    )
    consumer.close()
    assert len(found) == total
    return found


def by_place(ledger: pl.DataFrame) -> dict[tuple[int, int], str]:
    return {(p, o): digest for p, o, digest in ledger.select("partition", "offset", "sha256").rows()}


def test_the_ledger_is_what_the_log_holds(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic, file = "producer.ledger", tmp_path / "ledgers" / "l.parquet"
    create_topic(kafka.bootstrap, topic, 3)
    planned = plan(TOPIC, LONG, Disorder(0.1, 0.1, 0.05, seed=5))
    seen: list[int] = []
    ledger = send(planned, bootstrap=kafka.bootstrap, topic=topic, ledger=file, progress=seen.append)
    log = log_of(kafka, topic)
    assert by_place(ledger) == {place: sha256(value).hexdigest() for place, value in log.items()}
    assert Counter(log.values()) == Counter(planned["value"])
    assert ledger.select("sequence", "kind", "key").equals(planned.select("sequence", "kind", "key"))
    assert pl.read_parquet(file).equals(ledger)
    assert (seen == sorted(seen), seen[-1]) == (True, planned.height)
    # the order of the plan is kept in each partition, and a key is in one of them
    assert ledger.sort("sequence").select(pl.col("offset").diff().over("partition").min()).item() == 1
    assert ledger.group_by("key").agg(pl.col("partition").n_unique())["partition"].max() == 1


def test_landing_rejects_the_poison_and_takes_everything_else(kafka: KafkaBroker, lake: Lake, tmp_path: Path) -> None:
    topic = topic_with(name="producer.landed", late_after=48 * HOUR)
    create_topic(kafka.bootstrap, topic.name, 3)
    planned = plan(topic, LONG, Disorder(0.1, 0.1, 0.1, seed=5))
    ledger = send(planned, bootstrap=kafka.bootstrap, topic=topic.name, ledger=tmp_path / "l.parquet")
    done = land(lake, topic, Kafka(kafka.bootstrap), Provenance("run", "1"))
    poison = of_kind(ledger, POISON)
    assert (done.messages, done.rejected) == (ledger.height, poison.height)
    rejected = lake.scan(f"{topic.table}_rejected").collect()
    places = {(int(s.rpartition("/")[2]), o) for s, o in rejected.select("source", "offset").rows()}
    assert places == set(by_place(poison))


def test_the_rate_is_kept(kafka: KafkaBroker, tmp_path: Path) -> None:
    create_topic(kafka.bootstrap, "producer.rate", 3)
    began = time.monotonic()
    planned = plan(TOPIC, LONG, Disorder())
    send(planned, bootstrap=kafka.bootstrap, topic="producer.rate", ledger=tmp_path / "l.parquet", rate=1_000)
    assert 0.9 < time.monotonic() - began < 5


def test_a_broker_killed_and_restarted_meanwhile_holds_every_message_once(mortal: KafkaBroker, tmp_path: Path) -> None:
    create_topic(mortal.bootstrap, "restarted", 3)
    planned = plan(TOPIC, LONG, Disorder(0.1))
    killed = threading.Event()

    def kill_halfway(acknowledged: int) -> None:
        if acknowledged > planned.height / 3 and not killed.is_set():
            killed.set()
            mortal.kill()
            threading.Thread(target=mortal.start).start()

    how: dict[str, Any] = {"topic": "restarted", "ledger": tmp_path / "l.parquet", "rate": 1_000}
    ledger = send(planned, bootstrap=mortal.bootstrap, progress=kill_halfway, **how)
    mortal.start()
    assert killed.is_set()
    assert ledger.height == planned.height
    assert by_place(ledger) == {p: sha256(v).hexdigest() for p, v in log_of(mortal, "restarted").items()}


def test_a_broker_that_stays_away_ends_the_replay_with_what_was_acknowledged(
    mortal: KafkaBroker, tmp_path: Path
) -> None:
    mortal.start()
    create_topic(mortal.bootstrap, "lost", 3)
    planned, file = plan(TOPIC, LONG, Disorder()), tmp_path / "l.parquet"

    def kill(acknowledged: int) -> None:
        if acknowledged:
            mortal.kill()

    with pytest.raises(ArrivalError, match=rf"only \d+ of {planned.height} messages were acknowledged.*timed out"):
        send(planned, bootstrap=mortal.bootstrap, topic="lost", ledger=file, rate=200, timeout=2, progress=kill)
    mortal.start()
    ledger = pl.read_parquet(file)
    assert 0 < ledger.height < planned.height
    log = log_of(mortal, "lost")
    assert by_place(ledger).items() <= {place: sha256(value).hexdigest() for place, value in log.items()}.items()
