"""The fraud use case as it came about, message by message and run by run, and as it is made anew from the log."""

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]

from convergence.cli.rebuild import rebuild, switch_to, with_rebuild
from convergence.errors import ArrivalError, ConvergenceError, LakeError, SettingsError
from convergence.lake import generations
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from convergence_assets.fraud import datasets, features
from convergence_assets.fraud.arrivals import FIRST_DAY, TOPIC
from resources import environments
from resources.keys import key_of
from tests.convergence.cli.conftest import DAYS, DERIVED, KEPT_OUT, LATE, REJECTED, REPEATED, TABLES, House, day
from tests.convergence.lake.conftest import BUCKET, KEYS, s3_options  # noqa: F401
from tests.convergence_assets.fraud.worlds import messages


def test_the_tables_made_anew_equal_those_that_came_about(house: House) -> None:
    before = house.hashes()
    assert {t: len(keys) for t, keys in before.items()} == dict.fromkeys(DERIVED, DAYS) | dict(
        zip(KEPT_OUT, (1, 1), strict=True)
    )

    compared = rebuild("fraud", house.instance)

    assert {c.table: c.verdict for c in compared if c.partitions} == dict.fromkeys(TABLES, "equal")
    assert generations.current(house.lake.store).items() >= dict.fromkeys(TABLES, 2).items()
    assert house.lake.location(DERIVED[0]) == "fraud@2/raw_transactions"
    assert house.hashes() == before
    assert house.lake.scan(KEPT_OUT[0]).collect().height == LATE
    assert house.lake.scan(KEPT_OUT[1]).collect().height == REJECTED
    assert set(house.messages().values()) == {1}


def test_kept_aside_the_new_tables_do_not_count_until_switched_to_and_a_switch_leads_back(house: House) -> None:
    before = house.files()
    rebuild("fraud", house.instance, keep=True)
    assert house.files() == before

    switch_to("fraud", 2, house.instance)
    assert house.lake.location(DERIVED[-1]) == "fraud@2/transaction_features"

    switch_to("fraud", 1, house.instance)
    assert house.lake.location(DERIVED[-1]) == DERIVED[-1]
    assert {k: v for k, v in house.files().items() if k.startswith("fraud/")} == before


def test_landing_goes_on_after_the_switch_without_loss_or_doubling(house: House) -> None:
    there = house.messages()
    former = house.files()
    rebuild("fraud", house.instance)
    house.arrive(DAYS, DAYS)

    house.catch_up()

    new = house.messages()
    arrived = pl.scan_parquet(house.inbox / f"{day(DAYS)}.parquet").select(pl.len()).collect().item()
    assert new.total() == there.total() + arrived
    assert set(new.values()) == {1}
    assert there.keys() < new.keys()
    assert len(house.hashes()[DERIVED[-1]]) == DAYS + 1
    assert {k: v for k, v in house.files().items() if k in former} == former
    assert house.hashes(house.lake.at(dict.fromkeys(TABLES, 1)))[DERIVED[0]].keys() == {day(n) for n in range(DAYS)}


def test_what_arrives_while_the_tables_are_made_is_in_them(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    late_comer = during(Lake.replace, DERIVED[-1], lambda: house.arrive(DAYS, DAYS))
    monkeypatch.setattr(Lake, "replace", late_comer)

    compared = {c.table: c.verdict for c in rebuild("fraud", house.instance)}

    assert [compared[table] for table in DERIVED] == [f"1 new, first {day(DAYS)}"] * len(DERIVED)
    assert len(house.hashes()[DERIVED[-1]]) == DAYS + 1


def during(write: Callable[..., Any], table: str, do: Callable[[], object]) -> Callable[..., Any]:
    """A write to the lake that does something else first, once, when it comes to a table."""
    todo = iter([do])

    def written(lake: Lake, into: str, *arguments: Any, **more: Any) -> Any:
        if into == table:
            next(todo, lambda: None)()
        return write(lake, into, *arguments, **more)

    return written


class Killed(BaseException):
    """Stands for what a process does not survive."""


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("at", ["append raw", "replace features", "complete"])
def test_a_crash_before_the_switch_leaves_everything_as_it_was(
    house: House, monkeypatch: pytest.MonkeyPatch, at: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files, hashes = house.files(), house.hashes()
    with monkeypatch.context() as patch:
        if at == "complete":
            patch.setattr(generations, "complete", lambda *_: kill())
        else:
            method, table = at.split()
            (name,) = (t for t in DERIVED if table in t)
            patch.setattr(Lake, method, during(getattr(Lake, method), name, kill))
        with pytest.raises((Killed, ConvergenceError)):
            rebuild("fraud", house.instance)

    assert "nothing was switched, and the tables that count are as they were" in capsys.readouterr().err
    assert (house.files(), house.hashes()) == (files, hashes)
    with pytest.raises(LakeError, match="fraud@2 was never completed"):
        switch_to("fraud", 2, house.instance)


def test_after_a_failed_attempt_the_next_one_is_a_generation_of_its_own(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = house.hashes()
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "replace", during(Lake.replace, DERIVED[1], kill))
        with pytest.raises((Killed, ConvergenceError)):
            rebuild("fraud", house.instance)
    rebuild("fraud", house.instance)
    assert house.lake.location(DERIVED[0]) == "fraud@3/raw_transactions"
    assert house.hashes() == before


def test_a_blocking_check_that_fails_stops_before_the_switch(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    files, honest = house.files(), features.feature_rows

    def leaking(*arguments: Any) -> pl.DataFrame:
        rows = honest(*arguments)
        name = next(n for n, kind in rows.schema.items() if kind == pl.Float64 and n != "amount")
        return rows.with_columns(pl.col(name) + 1)

    monkeypatch.setattr(features, "feature_rows", leaking)

    with pytest.raises(LakeError, match=r"transaction_features .* could not be made: .*leakage"):
        rebuild("fraud", house.instance)
    assert house.files() == files


def test_after_changed_code_the_differences_are_shown_and_dagster_is_told(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    rebuild("fraud", house.instance)  # and Dagster knows of everything
    before = house.hashes()
    honest = datasets.without_repeats
    monkeypatch.setattr(
        datasets, "without_repeats", lambda raw: honest(raw).filter(pl.col("event_date") != FIRST_DAY + ONE)
    )

    compared = {c.table: c.verdict for c in rebuild("fraud", house.instance)}

    assert compared["fraud/raw_transactions"] == "equal"
    assert compared["fraud/transactions"] == compared["fraud/labels"] == f"1 gone, first {day(1)}"
    assert compared["fraud/transaction_features"].endswith(f"1 gone, first {day(1)}")
    after = house.hashes()
    for table in DERIVED:
        differ = [k for k, content in after[table].items() if before[table][k] != content]
        for partition in differ[:1]:
            event = house.instance.fetch_materializations(
                dg.AssetRecordsFilter(key_of(table), asset_partitions=[partition]), limit=1
            ).records[0]
            assert event.asset_materialization.tags["dagster/data_version"] == after[table][partition]
        assert bool(differ) == (table == "fraud/transaction_features")


ONE = timedelta(days=1)


@pytest.mark.parametrize("early", [True, False], ids=["before_landing", "after_landing"])
def test_a_source_that_lost_what_was_landed_is_refused_with_the_count(
    house: House, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    files = house.files()
    gone = pl.scan_parquet(house.inbox / f"{day(2)}.parquet").select(pl.len()).collect().item()
    (house.inbox / f"{day(2)}.parquet").unlink()
    (house.inbox / "repeats.jsonl").unlink()
    if not early:  # it was still there when the work began
        monkeypatch.setattr("convergence.cli.rebuild._refuse_early", lambda *_: None)

    with pytest.raises(ArrivalError, match=rf"{gone + REPEATED} of the messages .* are gone .*, of 2 partitions"):
        rebuild("fraud", house.instance)

    assert house.files() == files
    assert (Path(house.here.lake_root) / "fraud@2").exists() == (not early)


def test_a_use_case_without_a_stream_is_refused(house: House) -> None:
    with pytest.raises(SettingsError, match="no use case 'nothing' has a stream: there are churn, fraud"):
        rebuild("nothing", house.instance)


@pytest.fixture
def in_bucket(
    request: pytest.FixtureRequest, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> House:
    """A deployment whose lake is in a bucket."""
    options = request.getfixturevalue("s3_options")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, KEYS[name])
    here = environments.Settings(
        home=tmp_path, lake_url=f"s3://{BUCKET}/rebuilt", s3_endpoint=options["AWS_ENDPOINT_URL"]
    )
    monkeypatch.setattr(environments, "settings", lambda: here)
    return House(here, instance)


def test_a_lake_in_a_bucket_is_rebuilt_and_switched(in_bucket: House) -> None:
    in_bucket.arrive(0, 0)
    in_bucket.catch_up()

    compared = rebuild("fraud", in_bucket.instance)

    assert {c.table: (c.verdict, c.partitions) for c in compared if c.partitions} == dict.fromkeys(
        DERIVED, ("equal", 1)
    )
    assert in_bucket.lake.location(DERIVED[0]) == "fraud@2/raw_transactions"
    assert in_bucket.lake.scan(DERIVED[-1]).collect()["event_date"].unique().to_list() == [FIRST_DAY]
    switch_to("fraud", 1, in_bucket.instance)
    assert in_bucket.lake.location(DERIVED[0]) == DERIVED[0]


def test_a_kafka_log_is_rebuilt_from_and_refused_once_its_beginning_is_gone(
    own_broker: KafkaBroker, tmp_path: Path, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environments.Settings(home=tmp_path / "home", kafka=own_broker.bootstrap)
    monkeypatch.setattr(environments, "settings", lambda: here)
    house, sent = House(here, instance), messages(days=2)
    admin = AdminClient({"bootstrap.servers": own_broker.bootstrap})
    admin.create_topics([NewTopic(TOPIC.name, 2)])[TOPIC.name].result()
    producer = Producer({"bootstrap.servers": own_broker.bootstrap})
    for number, message in enumerate(
        sent.with_columns(pl.col("TX_DATETIME").dt.to_string("iso")).iter_rows(named=True)
    ):
        producer.produce(TOPIC.name, json.dumps(message), partition=number % 2)
        if number == 100:  # lands in two commits
            producer.flush()
            house.catch_up()
    producer.flush()
    house.catch_up()

    compared = rebuild("fraud", instance)

    assert {c.verdict for c in compared} == {"equal"}
    assert house.lake.scan(DERIVED[0]).collect().height == sent.height
    gone = admin.delete_records([TopicPartition(TOPIC.name, 1, 5)])
    assert [future.result().low_watermark for future in gone.values()] == [5]
    with pytest.raises(ArrivalError, match=r": 5 of the messages .* of 1 partitions, e.g. 5 of kafka/fraud"):
        rebuild("fraud", instance)
    house.catch_up()
    assert house.lake.scan(DERIVED[0]).collect().height == sent.height


def command(calls: list[Any]) -> click.Command:
    """A command that plays a topic, joined with the rebuild."""

    @click.command()
    @click.argument("topic")
    @click.option("--days", required=True)
    def replay(topic: str, days: str) -> None:
        calls.append((topic, days))

    return with_rebuild(replay)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    monkeypatch.setattr("convergence.cli.rebuild._with_instance", lambda do: do(None))
    monkeypatch.setattr("convergence.cli.rebuild.rebuild", lambda use_case, _, *, keep: made.append((use_case, keep)))
    monkeypatch.setattr(
        "convergence.cli.rebuild.switch_to", lambda use_case, number, _: made.append((use_case, number))
    )
    return made


@pytest.mark.parametrize(
    ("arguments", "call"),
    [
        ("fraud.transactions --days a..b", ("fraud.transactions", "a..b")),
        ("--from-beginning fraud", ("fraud", False)),
        ("--keep --from-beginning fraud", ("fraud", True)),
        ("--switch fraud --generation 3", ("fraud", 3)),
    ],
    ids=["play", "rebuild", "keep", "switch"],
)
def test_replay_plays_a_topic_or_rebuilds_or_switches_a_use_case(arguments: str, call: Any, calls: list[Any]) -> None:
    result = CliRunner().invoke(command(calls), arguments.split())
    assert (result.exit_code, calls) == (0, [call])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("", "Missing argument 'TOPIC'"),
        ("fraud.transactions", "Missing option '--days'"),
        ("fraud.transactions --from-beginning fraud", "does not go with a rebuild"),
        ("--days a..b --switch fraud --generation 1", "does not go with a rebuild"),
        ("--switch fraud", "--switch USE_CASE --generation N"),
        ("--generation 2", "--switch USE_CASE --generation N"),
        ("--switch fraud --generation 0", "is not in the range"),
        ("--from-beginning fraud --switch fraud --generation 1", "--switch USE_CASE --generation N"),
        ("fraud.transactions --days a..b --keep", "--keep goes with --from-beginning"),
    ],
    ids=["nothing", "no_days", "topic", "days", "no_number", "no_use_case", "zero", "both", "keep"],
)
def test_forms_of_replay_that_do_not_go_together_are_usage_errors(arguments: str, said: str, calls: list[Any]) -> None:
    result = CliRunner().invoke(command(calls), arguments.split())
    assert (result.exit_code, calls) == (2, [])
    assert said in result.output
