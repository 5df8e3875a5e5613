"""`convergence replay --to kafka` as a person uses it, and what the options refuse."""

import re
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from convergence.chaos.producing import fresh_topic
from convergence.cli import cli
from convergence.errors import ArrivalError, ServiceError, SettingsError
from convergence.services.kafka import KafkaBroker
from resources import environments

DAYS = "2018-04-01..2018-04-02"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = environments.Settings(home=tmp_path / "home", data=None, kafka=None)
    monkeypatch.setattr(environments, "settings", lambda: here)
    return here.home


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["replay", "fraud.transactions", "--days", DAYS, *arguments])


def test_a_disorderly_replay_says_what_it_sent_and_keeps_a_ledger_of_it(kafka: KafkaBroker, home: Path) -> None:
    disorder = ["--duplicates", "0.1", "--late", "0.05", "--poison", "0.01", "--shift", "amount=3", "--seed", "7"]
    fresh_topic(kafka.bootstrap, "fraud.transactions", 3)
    done = replay("--to", "kafka", "--bootstrap", kafka.bootstrap, *disorder)
    assert done.exit_code == 0, done.output
    [ledger] = (home / "ledgers").glob("fraud.transactions-7-*.parquet")
    assert str(ledger) in done.output
    kinds = Counter(pl.read_parquet(ledger)["kind"])
    messages = kinds["message"] + kinds["late"]
    assert messages > 10_000
    assert [kinds[k] for k in ("late", "duplicate", "poison")] == [round(messages * s) for s in (0.05, 0.1, 0.01)]
    assert all(f"{kind} {count:,}" in done.output for kind, count in kinds.items())
    assert f"{sum(kinds.values()):,} messages in" in done.output


def test_equal_arguments_send_equal_messages_to_equal_places(kafka: KafkaBroker, tmp_path: Path) -> None:
    names = ("a", "b")
    for name in names:
        file = str(tmp_path / name)
        done = replay("--to", "kafka", "--bootstrap", kafka.bootstrap, "--late", "0.1", "--seed", "3", "--ledger", file)
        assert done.exit_code == 0, done.output
    first, second = (pl.read_parquet(tmp_path / name).drop("offset") for name in names)
    assert first.equals(second)


def test_no_cluster_is_an_error_that_says_how_to_get_one() -> None:
    error = replay("--to", "kafka").exception
    assert isinstance(error, SettingsError)
    assert re.search(r"services up kafka.*CONVERGENCE_KAFKA.*--bootstrap", str(error))


def test_another_number_of_partitions_than_the_topic_has_is_refused(kafka: KafkaBroker) -> None:
    replay("--to", "kafka", "--bootstrap", kafka.bootstrap)
    error = replay("--to", "kafka", "--bootstrap", kafka.bootstrap, "--partitions", "5").exception
    assert isinstance(error, ServiceError)
    assert "has 3 partitions, not 5" in str(error)


def test_a_shift_of_an_unknown_column_sends_nothing(home: Path) -> None:
    error = replay("--to", "kafka", "--bootstrap", "127.0.0.1:1", "--shift", "amuont=3").exception
    assert isinstance(error, ArrivalError)
    assert "amount" in str(error)
    assert not (home / "ledgers").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--to", "kafka", "--speed", "2"), "--speed does not go with --to kafka"),
        (("--rate", "10"), "--rate does not go with --to inbox"),
        (("--to", "kafka", "--late", "1.5"), "not in the range 0<=x<=1"),
        (("--to", "kafka", "--shift", "amount"), "'amount' is not like amount=3"),
        (("--to", "kafka", "--rate", "0"), "not in the range x>0"),
    ],
    ids=["speed", "rate", "share", "factor", "no rate"],
)
def test_options_that_make_no_sense_are_usage_errors(arguments: tuple[str, ...], complaint: str) -> None:
    done = replay(*arguments)
    assert (done.exit_code, complaint in done.output) == (2, True), done.output
