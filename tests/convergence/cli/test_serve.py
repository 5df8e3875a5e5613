import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from convergence.cli.features import features
from convergence.cli.serve import serve
from convergence.errors import SettingsError
from convergence.lake.tables import Lake
from convergence.services.redis import _answers, _socket, stop_embedded
from convergence_assets.fraud.requests import FEATURES
from resources.environments import settings
from tests.convergence.serving.service import ask, decided, model
from tests.convergence.serving.test_service import SCORE, one
from tests.convergence_assets.fraud.streams import history, landed, live
from tests.graph.house import ROOT

_PROGRAM = """
from convergence.cli.serve import serve
serve()
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CONVERGENCE_HOME", str(tmp_path))
    monkeypatch.delenv("CONVERGENCE_REDIS", raising=False)
    settings.cache_clear()
    lake = Lake(str(tmp_path / "lake"))
    landed(lake, tmp_path / "inbox", "history", history())
    decided(lake, model())
    yield tmp_path
    settings.cache_clear()
    stop_embedded(tmp_path)


def said(*command: str) -> str:
    result = CliRunner().invoke(features, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_online_state_is_filled_listed_followed_and_asked(home: Path) -> None:
    assert "none" in said("online")
    assert f"{FEATURES.online.view.name}/{FEATURES.online.layout.fingerprint}/1" in said(
        "follow", "fraud", "--until-caught-up"
    )
    landed(Lake(str(home / "lake")), home / "inbox", "live", live()[0])
    assert "rows applied" in said("follow", "fraud", "--until-caught-up")
    row = json.dumps(one()["rows"][0])
    values = json.loads(said("get", "fraud", row))
    assert list(values) == list(FEATURES.online.view.features)
    assert values["customer_count_1h"] >= 1
    assert "none" not in said("online")


def test_another_address_than_loopback_needs_tokens(home: Path) -> None:
    with pytest.raises(SettingsError, match="no token is set"):
        CliRunner().invoke(serve, ["fraud", "--host", "0.0.0.0"], catch_exceptions=False)


def test_an_unknown_use_case_is_answered_with_those_there_are(home: Path) -> None:
    result = CliRunner().invoke(serve, ["other"])
    assert result.exit_code == 2
    assert "there are: fraud" in result.output


def test_a_port_that_is_taken_is_said_before_anything_starts(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port} cannot be served at"):
            CliRunner().invoke(serve, ["fraud", "--port", port], catch_exceptions=False)
    assert not (home / "online").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_the_server_follows_what_lands_and_when_it_is_told_to_end_takes_its_redis_with_it(
    home: Path, number: signal.Signals
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, "fraud", "--port", str(port), "--follow"]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ}, stderr=subprocess.PIPE, text=True) as process:
        try:
            _until(lambda: _version(port) is not None, process)
            before = _version(port)
            landed(Lake(str(home / "lake")), home / "inbox", "live", live()[0])
            _until(lambda: _version(port) != before, process)
            _until(lambda: ask(port, "GET", "/health")[0] == 200, process)  # a store that is slow once is said so
            process.send_signal(number)
            _, told = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode in (0, 128 + number, -signal.SIGINT)
    assert "NO TOKENS" in told
    assert "Traceback" not in told
    assert (home / "online" / "redis.rdb").exists()
    assert not _answers(_socket((home / "online").resolve()))


def _version(port: int) -> int | None:
    try:
        status, answer, _ = ask(port, "POST", SCORE, one())
    except OSError:
        return None
    return answer["state"]["version"] if status == 200 and answer["state"] else None


def _until(done: object, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not done():  # pyright: ignore[reportCallIssue]
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.1)
