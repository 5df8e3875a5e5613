"""The alert sensor over runs that fail, against a real HTTP server that can be out of order."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from convergence.observability import alerts as channels
from resources.alerts import Alerts
from sensors.alerts import alerts

DAILY = dg.DailyPartitionsDefinition("2024-01-01", end_date="2024-01-05")
SECRET = "customer 7590-VHVEG"
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@dataclass
class Receiver:
    """An HTTP server that notes what is posted to it; `answers` are given first, then 200."""

    answers: list[int] = field(default_factory=list)
    attempts: int = 0
    got: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""

    def take(self, body: bytes, key: str) -> int:
        self.attempts += 1
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.got.append(json.loads(body))
            self.keys.append(key)
        return status


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr(channels.Webhook.__init__, "__defaults__", ("webhook", 1.0, 0.01))
    noted = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(noted.take(body, self.headers["Idempotency-Key"]))
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        noted.url = f"http://127.0.0.1:{server.server_port}/hook?token=hush"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield noted
        server.shutdown()


@dataclass
class Platform:
    """An asset whose check, body and severity can be told to fail, and the sensor with its cursor."""

    instance: dg.DagsterInstance
    home: Path
    webhook: str | None
    warnings: bool = False
    cursor: str | None = None
    said: str = ""

    def tick(self) -> None:
        settings = Alerts(home=str(self.home), webhook=self.webhook, warnings=self.warnings, ui="http://ui:3000/")
        context = dg.build_sensor_context(self.instance, cursor=self.cursor, resources={"alerts": settings})
        result = alerts.evaluate_tick(context)
        self.cursor, self.said = result.cursor, str(result.skip_message)

    def check(self, *days: str, passed: bool = False, severity: dg.AssetCheckSeverity = ERROR) -> str:
        """A run that judges these days of `uc/table`; the id of the run."""

        @dg.asset(
            key=["uc", "table"],
            partitions_def=DAILY,
            backfill_policy=dg.BackfillPolicy.single_run(),
            output_required=False,
            check_specs=[dg.AssetCheckSpec("contract", asset=["uc", "table"], blocking=True)],
        )
        def table() -> Iterator[Any]:
            for day in days:
                yield dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(["uc", "table"]),
                    check_name="contract",
                    passed=passed,
                    severity=severity,
                    partition=day,
                    description=f"wrong: {SECRET}",
                    metadata={"rows_rejected": 2, "sample": SECRET},
                )
            yield dg.AssetCheckResult(
                check_name="contract", passed=passed, severity=severity, metadata={"rows_rejected": 2 * len(days)}
            )
            if not passed and severity is ERROR:
                raise dg.Failure(f"bad rows of {SECRET}", allow_retries=False)

        tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
        return dg.materialize([table], instance=self.instance, tags=tags, raise_on_error=False).run_id

    def crash(self) -> str:
        """A run that fails without a check; its id."""

        @dg.asset(key=["uc", "crashing"])
        def crashing() -> None:
            raise ValueError(SECRET)

        return dg.materialize([crashing], instance=self.instance, raise_on_error=False).run_id

    def written(self) -> list[dict[str, Any]]:
        files = sorted((self.home / "alerts").glob("*.jsonl"))
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def platform(instance: dg.DagsterInstance, tmp_path: Path, receiver: Receiver) -> Platform:
    made = Platform(instance, tmp_path, receiver.url)
    made.tick()
    return made


def test_a_failed_check_is_one_alert_on_every_channel_and_only_once(platform: Platform, receiver: Receiver):
    run = platform.check("2024-01-01", "2024-01-02", "2024-01-03")
    for _ in range(3):
        platform.tick()

    (alert,) = receiver.got
    assert (alert["kind"], alert["severity"], alert["asset"], alert["check"]) == (
        "check",
        "error",
        "uc/table",
        "contract",
    )
    assert (alert["partition"], alert["partitions"], alert["rows_rejected"]) == ("2024-01-01", 3, 6)
    assert alert["run_url"] == f"http://ui:3000/runs/{run}"
    assert alert["text"] == "uc/table: check contract failed for 2024-01-01 and 2 more partitions, 6 rows rejected"
    assert platform.written() == receiver.got


def test_a_run_that_fails_without_a_check_is_an_alert(platform: Platform, receiver: Receiver):
    run = platform.crash()
    platform.tick()

    (alert,) = receiver.got
    assert (alert["kind"], alert["id"], alert["run_url"]) == ("run", f"run/{run}", f"http://ui:3000/runs/{run}")
    assert "uc__crashing" in alert["text"]


def test_nothing_of_what_a_row_held_gets_into_an_alert(platform: Platform, receiver: Receiver):
    platform.check("2024-01-01")
    platform.crash()
    platform.tick()

    assert len(receiver.got) == 2
    assert SECRET not in json.dumps([receiver.got, platform.written(), platform.said])


def test_what_passes_and_what_failed_before_anybody_listened_is_no_alert(
    instance: dg.DagsterInstance, tmp_path: Path, receiver: Receiver
):
    platform = Platform(instance, tmp_path, receiver.url)
    platform.check("2024-01-01")
    platform.crash()
    platform.tick()
    platform.check("2024-01-02", passed=True)
    platform.tick()

    assert receiver.got == platform.written() == []
    assert platform.said == "file: nothing failed; webhook: nothing failed"


def test_a_check_that_warns_alerts_only_where_that_is_asked_for(platform: Platform, receiver: Receiver):
    platform.check("2024-01-01", severity=WARN)
    platform.tick()
    assert receiver.got == []

    platform.warnings = True
    platform.check("2024-01-02", severity=WARN)
    platform.tick()

    assert [(alert["severity"], alert["partition"]) for alert in receiver.got] == [("warn", "2024-01-02")]


def test_a_failure_that_passes_is_tried_again_at_once(platform: Platform, receiver: Receiver):
    receiver.answers = [503, 429, 500]
    platform.check("2024-01-01")
    platform.tick()

    assert (receiver.attempts, len(receiver.got)) == (4, 1)


def test_an_outage_of_the_webhook_loses_nothing_repeats_nothing_and_holds_up_no_file(
    platform: Platform, receiver: Receiver
):
    platform.check("2024-01-01")
    platform.crash()
    receiver.answers = [200, 404]  # the first is taken, then it is out of order
    platform.tick()
    assert "webhook: 1 sent, then: the webhook at 127.0.0.1 answered 404" in platform.said
    assert "hush" not in platform.said
    assert len(platform.written()) == 2

    away, platform.webhook = platform.webhook, "http://127.0.0.1:9/hook"
    platform.check("2024-01-02")
    platform.tick()
    assert "could not be reached" in platform.said

    platform.webhook = away
    platform.tick()
    platform.tick()

    assert sorted(alert["id"] for alert in receiver.got) == sorted(alert["id"] for alert in platform.written())
    assert receiver.keys == [alert["id"] for alert in receiver.got]
    assert len(set(receiver.keys)) == len(receiver.keys) == 3


def test_an_alert_that_was_taken_but_not_noted_comes_again_under_the_same_id(platform: Platform, receiver: Receiver):
    platform.check("2024-01-01", "2024-01-02")
    before = platform.cursor
    platform.tick()
    platform.cursor = before
    platform.tick()

    assert len(receiver.keys) == 2
    assert len(set(receiver.keys)) == 1
