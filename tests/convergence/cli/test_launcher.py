"""The UI as a person starts and stops it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route

from convergence.lake.tables import Lake
from convergence.services.processes import running
from tests.convergence.browser import browser
from tests.convergence.serving.service import running as served_by

ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(home: Path, port: int, output: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
    environment = {**os.environ, "CONVERGENCE_HOME": str(home)}
    command = [sys.executable, "-W", "ignore", "-m", "convergence.cli", "ui", "--port", str(port)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the served one says."""
    return tmp_path_factory.mktemp("log") / "ui.log"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[tuple[subprocess.Popen[str], Path, int]]:
    home, port = tmp_path_factory.mktemp("home"), free_port()
    with log.open("w") as output:  # a pipe that nobody reads is full after 64 KiB, and whoever logs then stands still
        process = start(home, port, output)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2)
            break
        except (urllib.error.URLError, ConnectionError):
            assert process.poll() is None, log.read_text()
            time.sleep(0.5)
    yield process, home, port
    process.terminate()
    process.wait(timeout=60)


def test_a_start_warns_of_no_file_of_its_own(served: tuple[subprocess.Popen[str], Path, int], log: Path) -> None:
    assert "dagster.yaml" not in log.read_text()


def test_a_second_start_on_the_same_home_is_refused_and_names_the_process(
    served: tuple[subprocess.Popen[str], Path, int],
) -> None:
    process, home, _ = served
    second = start(home, free_port())
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"already served by {process.pid} (convergence)" in output
    assert "(dagster._daemon)" in output


def test_a_taken_port_is_refused(served: tuple[subprocess.Popen[str], Path, int], tmp_path: Path) -> None:
    other = start(tmp_path, served[2])
    output, _ = other.communicate(timeout=60)
    assert other.returncode == 2
    assert f"port {served[2]} is taken" in output


_CONFIG = {"ops": {"release_fraud_model": {"config": {"action": "promote", "reason": "x"}}}}
LAUNCH = f"""mutation {{ launchRun(executionParams: {{selector: {{
  repositoryLocationName: "convergence", repositoryName: "__repository__", pipelineName: "fraud_model_release"
}}, runConfigData: {json.dumps(json.dumps(_CONFIG))}}}) {{ __typename }} }}"""


def _hostile(port: int) -> Starlette:
    """A site whose page tries to launch that at the UI of this port."""
    page = (Path(__file__).parent / "hostile.html").read_text()
    page = page.replace("TARGET", json.dumps(f"http://127.0.0.1:{port}/graphql")).replace("QUERY", json.dumps(LAUNCH))
    return Starlette(routes=[Route("/", lambda _: HTMLResponse(page))])


def _runs(port: int) -> list[str]:
    body = json.dumps({"query": "{ runsOrError { ... on Runs { results { jobName } } } }"}).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return [run["jobName"] for run in json.load(answer)["data"]["runsOrError"]["results"]]


def test_a_page_of_another_site_launches_nothing_and_the_uis_own_page_does(
    served: tuple[subprocess.Popen[str], Path, int], tmp_path: Path
) -> None:
    port = served[2]
    with served_by(_hostile(port)) as elsewhere, browser(tmp_path) as page:
        for host in ("127.0.0.1", "evil.localhost"):
            page.open(f"http://{host}:{elsewhere}/", "window.done()")
            assert "fraud_model_release" not in _runs(port)
            assert page.value("window.opened") is None
        page.open(f"http://evil.localhost:{port}/runs", "true")  # as after DNS rebinding
        assert "unknown_host" in page.value("document.body.innerText")
        assert len([address for address in page.requested if f":{port}/graphql" in address]) >= 10

        page.open(f"http://127.0.0.1:{port}/runs", "document.body.innerText.includes('Deployment')")
        opening = (
            "new WebSocket(`ws://${location.host}/graphql`, 'graphql-ws').onopen = () => { window.opened = true; }"
        )
        page.value(f"{opening}; 1")
        page.wait("window.opened === true")
        headers = {"Content-Type": "application/json"}
        asked = {"method": "POST", "headers": headers, "body": json.dumps({"query": LAUNCH})}
        page.value(
            f"fetch('/graphql', {json.dumps(asked)}).then((a) => a.json()).then((a) => {{ window.said = a; }}); 1"
        )
        page.wait("window.said !== undefined")
        assert page.value("window.said.data.launchRun.__typename") == "LaunchRunSuccess"
    assert "fraud_model_release" in _runs(port)


def test_a_dropped_file_becomes_features_with_nobody_asking(
    served: tuple[subprocess.Popen[str], Path, int],
) -> None:
    _, home, _ = served
    columns = (
        "TRANSACTION_ID",
        "TX_DATETIME",
        "CUSTOMER_ID",
        "TERMINAL_ID",
        "TX_AMOUNT",
        "TX_FRAUD",
        "TX_FRAUD_SCENARIO",
    )
    rows = [(1, "2018-04-01T09:00:00", 7, 3, 20.0, 0, 0), (2, "2018-04-01T10:00:00", 7, 3, 40.0, 0, 0)]
    inbox = home / "inbox" / "fraud.transactions"
    inbox.mkdir(parents=True)
    (inbox / ".one.jsonl").write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))
    (inbox / ".one.jsonl").rename(inbox / "one.jsonl")

    lake, deadline = Lake(str(home / "lake")), time.monotonic() + 180
    while not next(lake.commits("fraud/transaction_features"), None) and time.monotonic() < deadline:
        time.sleep(1)  # the table is there a moment before its first rows are

    features = lake.scan("fraud/transaction_features").sort("transaction_id").collect()
    assert features["customer_count_24h"].to_list() == [1, 2]
    assert features["customer_mean_30d"].to_list() == [20.0, 30.0]
    assert features["seconds_since_last"].to_list() == [None, 3600.0]
    assert lake.open("fraud/fraud_model") is None


def test_sigterm_stops_every_process_of_it(served: tuple[subprocess.Popen[str], Path, int]) -> None:
    process, home, port = served
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=2)
    time.sleep(1)
    assert _left(home) == []


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A UI whose code server has just been started, and the code server's process."""
    process = start(tmp_path, free_port())
    signed, deadline = tmp_path / "dagster" / "serve.lock", time.monotonic() + 60
    while not (signed.exists() and "dagster\n" in signed.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield process, int(signed.read_text().splitlines()[-1].split()[0])
    process.kill()
    process.communicate()


def test_kill_9_of_it_ends_every_process_of_it(starting: tuple[subprocess.Popen[str], int], tmp_path: Path) -> None:
    process, code_server = starting
    assert running(code_server, "dagster")
    process.kill()
    deadline = time.monotonic() + 30
    while _left(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not running(code_server, "dagster")
    assert _left(tmp_path) == []


def test_a_part_that_dies_ends_the_others_with_exit_code_1(starting: tuple[subprocess.Popen[str], int]) -> None:
    process, code_server = starting
    os.kill(code_server, signal.SIGKILL)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "a part of it ended with exit code -9" in output


def _left(home: Path) -> list[Path]:
    return [path for path in Path("/proc").glob("[0-9]*/environ") if str(home).encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # the process ended meanwhile
        return b""
