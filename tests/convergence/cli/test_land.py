"""The continuous lander as a process: it lands, tells Dagster, shows its lag, and ends when it is asked to."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.request import urlopen

import dagster as dg
import pytest
from click.testing import CliRunner

from convergence import cli
from convergence.arrivals.topics import Topic
from convergence.chaos.producing import fresh_topic
from convergence.errors import BrokerUnreachable, SettingsError
from convergence.lake.tables import Lake
from convergence.services.kafka import KafkaBroker
from convergence_assets.fraud.arrivals import TOPIC
from resources.environments import Settings
from tests.convergence.arrivals.landing import TABLE, message
from tests.convergence.arrivals.logs import eventually, ids, new_topic, numbers, produce
from tests.convergence_assets.fraud.worlds import messages

command = import_module("convergence.cli.land")  # the package has a command of that name
KEY = dg.AssetKey(TABLE.split("/"))


@pytest.fixture
def home(tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A deployment in a folder of its own."""
    here = Settings(home=tmp_path / "home", kafka=None)
    monkeypatch.setattr("resources.environments.settings", lambda: here)
    monkeypatch.setattr(cli, "topic_named", lambda _: TOPIC)
    monkeypatch.setattr(cli, "lake", lambda: lake)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path / "home"
    for number, handler in before.items():
        signal.signal(number, handler)


def caught_up(topic: Topic, broker: KafkaBroker, monkeypatch: pytest.MonkeyPatch, *more: str) -> str:
    monkeypatch.setattr(cli, "topic_named", lambda _: topic)
    arguments = [topic.name, "--until-caught-up", "--bootstrap", broker.bootstrap, *more]
    return CliRunner().invoke(command.land, arguments, catch_exceptions=False).output


def test_it_lands_what_is_there_and_reports_each_partition_once(
    home: Path, lake: Lake, kafka: KafkaBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = new_topic(kafka)
    produce(kafka, topic, [*numbers(9), message(9, event_time="2024-01-02T00:00:00")])
    said = caught_up(topic, kafka, monkeypatch, "--rows", "2")
    assert re.search(rf"{topic.name}: 10 messages landed in \d", said)
    assert ids(lake) == list(range(10))
    with cli.instance() as instance:
        found = instance.fetch_materializations(KEY, limit=10).records
        told = {r.partition_key: r.asset_materialization for r in found}
    assert len(found) == len(told) == 2
    event = told["2024-01-05"]
    assert event
    assert event.metadata["dagster/partition_row_count"].value == 9
    assert event.metadata["source"].value == f"kafka {kafka.bootstrap}"
    assert event.tags


def test_without_a_cluster_it_says_how_to_name_one(home: Path) -> None:
    with pytest.raises(SettingsError, match="set CONVERGENCE_KAFKA or --bootstrap"):
        CliRunner().invoke(command.land, [TOPIC.name], catch_exceptions=False)


def test_a_report_that_fails_ends_the_lander_with_its_error(lake: Lake) -> None:
    reporter = command.Reporter(None, lake, TOPIC, "nowhere")  # pyright: ignore[reportArgumentType]

    def report() -> None:
        with reporter:
            reporter.add(["2018-04-01"])

    with pytest.raises(KeyError, match="2018-04-01"):
        report()


def test_a_partition_is_reported_at_most_once_in_its_interval(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr(command, "_report", lambda _i, _l, _t, _s, days: told.append(days))
    monkeypatch.setattr(command, "REPORT_SECONDS", 0.3)
    with command.Reporter(None, lake, TOPIC, "here") as reporter:  # pyright: ignore[reportArgumentType]
        until = time.monotonic() + 1
        while time.monotonic() < until:
            reporter.add(["2018-04-02", "2018-04-01"])
            time.sleep(0.01)
    assert 3 <= len(told) <= 5
    assert told[0] == ["2018-04-01", "2018-04-02"]


def test_a_process_lands_serves_its_lag_and_ends_on_sigterm(kafka: KafkaBroker, tmp_path: Path) -> None:
    fresh_topic(kafka.bootstrap, TOPIC.name, 3)
    values = messages(customers=6, terminals=12, days=8, radius=60.0).write_ndjson().splitlines()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"CONVERGENCE_HOME": str(tmp_path), "CONVERGENCE_KAFKA": kafka.bootstrap}
    arguments = ["land", TOPIC.name, "--every", "0.2", "--metrics-port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "convergence.cli", *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        produce(kafka, TOPIC, values)
        landed = f'convergence_landed_messages_total{{topic="{TOPIC.name}"}} {float(len(values))}'
        eventually(lambda: landed in metrics(port), seconds=60)
        assert f'convergence_lag_messages{{topic="{TOPIC.name}"}} 0.0' in metrics(port)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0, said
    assert f"{len(values):,} messages landed" in said


def metrics(port: int) -> str:
    try:
        return urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    except OSError:
        return ""


def test_a_cluster_that_is_down_ends_it_with_one_message(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from convergence.arrivals import kafka as source

    monkeypatch.setattr(source.Kafka, "__init__", _impatient(source.Kafka.__init__))
    with pytest.raises(BrokerUnreachable, match="did not answer in 1 s"):
        CliRunner().invoke(command.land, [TOPIC.name, "--bootstrap", "127.0.0.1:1"], catch_exceptions=False)


def _impatient(made):
    return lambda self, address: made(self, address, timeout=1)
