"""Rejected messages after a fix: landed once each, and what fails again waits on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals.lander import Landed, Lander, land
from convergence.arrivals.rejected import Rejected
from convergence.arrivals.topics import Topic
from convergence.lake.manifests import build_manifest
from convergence.lake.tables import WHOLE, Lake
from convergence.services.kafka import KafkaBroker
from resources.environments import Settings
from tests.convergence.arrivals.landing import (
    REJECTED,
    TABLE,
    TOPIC,
    RawPayment,
    application,
    drop,
    landed,
    message,
    places,
    rows,
)
from tests.convergence.arrivals.logs import MADE, ids, landed_from, new_topic, numbers, produce


class Generous(RawPayment):
    amount: float


FIXED = replace(TOPIC, contract=Generous)
HALF = replace(TOPIC, renames={"ID": "payment_id", "sum": "amount"})


def tried(lake: Lake, topic: Topic = TOPIC) -> Landed:
    return land(lake, topic, Rejected(lake), MADE)


def reasons(lake: Lake, topic: Topic = TOPIC) -> list[str]:
    return Rejected(lake).waiting(topic, Lander(lake, topic, MADE).landed)["reason"].to_list()


def test_nothing_waits_where_nothing_was_rejected(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1))
    landed(lake, tmp_path)
    assert (reasons(lake), tried(lake)) == ([], Landed())


def test_after_a_fix_the_rejected_messages_land_once_and_a_second_trial_does_nothing(
    lake: Lake, tmp_path: Path
) -> None:
    drop(tmp_path, "a.jsonl", message(1), message(2, amount=-1), message(3, amount=200))
    drop(tmp_path, "b.jsonl", message(4, amount=-1), message(5))
    landed(lake, tmp_path)
    result = tried(lake, FIXED)
    assert (result.messages, result.accepted, result.rejected, result.commits) == (3, 3, 0, 2)
    assert result.days == {"2024-01-05"}
    assert (ids(lake), reasons(lake, FIXED)) == ([1, 2, 3, 4, 5], [])
    assert tried(lake, FIXED) == Landed()
    assert max(places(lake).values()) == 1


def test_what_fails_again_waits_once_with_its_new_reason(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1, amount=-1), message(2, amount=-1, refunded="maybe"), "{broken")
    landed(lake, tmp_path)
    assert len(reasons(lake)) == 3
    assert tried(lake, FIXED).rejected == 2
    assert reasons(lake, FIXED) == ['refunded: not a Boolean: "maybe"; refunded: not_nullable', "not a JSON object"]
    assert tried(lake, FIXED).rejected == 2
    assert len(reasons(lake, FIXED)) == 2
    assert (ids(lake), rows(lake, REJECTED).height) == ([1], 3 + 2 + 2)


def test_a_message_with_a_key_twice_is_not_guessed_at_when_it_is_tried_again(lake: Lake, tmp_path: Path) -> None:
    twice = f'{json.dumps(message(2))[:-1]}, "amount": 99.0}}'
    drop(tmp_path, "a.jsonl", message(1, amount=-1), twice, message(3, amount=-1))
    landed(lake, tmp_path)
    assert tried(lake, FIXED).accepted == 2
    assert (ids(lake), reasons(lake, FIXED)) == ([1, 3], ["the key amount stands in it twice"])
    assert Rejected(lake).waiting(FIXED, Lander(lake, FIXED, MADE).landed)["row"].to_list() == [twice]


def test_messages_rejected_later_are_tried_alone(lake: Lake, kafka: KafkaBroker) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, [message(1, amount=-1), message(2)])
    landed_from(kafka, lake, topic)
    fixed = replace(topic, contract=Generous)
    assert tried(lake, fixed).accepted == 1
    produce(kafka, topic, [message(3, amount=-1), message(4)])
    landed_from(kafka, lake, topic)
    assert tried(lake, fixed).accepted == 1
    assert ids(lake) == [1, 2, 3, 4]


def test_the_header_and_the_brokers_time_of_a_rejected_message_are_kept(lake: Lake, kafka: KafkaBroker) -> None:
    topic = new_topic(kafka, assumed_lateness=None)
    long = {"late_after": topic.late_after * 1_000_000}
    produce(kafka, replace(topic, **long), numbers(2), headers=[{"schema_version": b"2"}, None])
    topic = replace(topic, **long)
    landed_from(kafka, lake, topic)
    assert ids(lake) == [1]
    assert tried(lake, topic).rejected == 1
    assert reasons(lake, topic) == ["schema_version 2: this topic reads 1"]
    assert tried(lake, replace(topic, schema_versions=frozenset({1, 2}))).accepted == 1
    arrived = rows(lake, TABLE).sort("payment_id")["arrived_at"]
    assert abs((arrived[0] - arrived[1]).total_seconds()) < 1


def test_a_table_from_before_headers_were_kept_can_be_tried(lake: Lake, tmp_path: Path) -> None:
    path = drop(tmp_path, "a.jsonl", message(1, amount=-1))
    landed(lake, tmp_path)
    old = rows(lake, REJECTED).select("source", "offset", "reason", "row")
    other = Lake(f"{lake.root}-old")
    manifest = build_manifest({WHOLE: old}, "append", MADE)
    other.append(REJECTED, old, manifest, {application(path): 1}, None, dated=False)
    assert tried(other, FIXED).accepted == 1


@settings(deadline=None, max_examples=10)
@given(st.lists(st.sampled_from(("good", "amount", "nothing")), min_size=1, max_size=8), st.data())
def test_however_often_it_is_tried_each_message_is_landed_or_waits(kinds: list[str], data: Any) -> None:
    from tempfile import TemporaryDirectory

    made = {"good": {}, "amount": {"amount": -1}, "nothing": {"refunded": "maybe"}}
    with TemporaryDirectory() as folder:
        lake = Lake(f"{folder}/lake")
        drop(Path(folder), "a.jsonl", *(message(n, **made[kind]) for n, kind in enumerate(kinds)))
        landed(lake, Path(folder))
        fixed = False
        for is_fixed in data.draw(st.lists(st.booleans(), max_size=3)):
            fixed |= is_fixed
            tried(lake, FIXED if is_fixed else TOPIC)
        expected = [n for n, kind in enumerate(kinds) if kind == "good" or (kind == "amount" and fixed)]
        assert ids(lake) == expected
        assert len(reasons(lake)) == len(kinds) - len(expected)


def test_the_command_counts_by_reason_and_lands_after_a_fix(lake: Lake, tmp_path: Path, monkeypatch: Any) -> None:
    from convergence import cli
    from convergence.cli.rejected import rejected

    maybe = [message(n, refunded=f'may be; "{n}"') for n in (4, 5)]
    drop(tmp_path, "a.jsonl", message(1, amount=-1), message(2, amount=-1), "{broken", message(3), *maybe)
    landed(lake, tmp_path)
    monkeypatch.setattr(cli, "lake", lambda **_: lake)
    monkeypatch.setattr(cli, "topic_named", lambda _: FIXED)
    monkeypatch.setattr("resources.environments.settings", lambda: Settings(home=tmp_path / "home"))
    said = CliRunner().invoke(rejected, ["list", TOPIC.name], catch_exceptions=False).output.splitlines()
    assert [line.split(None, 1) for line in said[:3]] == [
        ["2", "amount: greater_than_or_equal_to(0)"],
        ["2", "refunded: not a Boolean: …; refunded: not_nullable"],
        ["1", "not a JSON object"],
    ]
    assert said[3] == "shop.payments: 5 rejected messages wait"
    said = CliRunner().invoke(rejected, ["replay", TOPIC.name], catch_exceptions=False).output
    assert "5 rejected messages tried again: 2 landed, 0 late, 3 rejected again" in said
    assert ids(lake) == [1, 2, 3]
    import dagster as dg

    with cli.instance() as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey(TABLE.split("/")))
        assert event
        assert event.asset_materialization
        assert event.asset_materialization.partition == "2024-01-05"
        assert event.asset_materialization.metadata["dagster/partition_row_count"].value == 3
