"""`convergence services` as a person uses it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from convergence.cli.services import services
from convergence.errors import ServiceError
from convergence.services.kafka import KafkaBroker
from resources import environments


@pytest.fixture(scope="module")
def home(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home with the jars, on which nothing is left running."""
    home = tmp_path_factory.mktemp("home")
    (home / "services" / "kafka").mkdir(parents=True)
    (home / "services" / "kafka" / "libs").symlink_to(kafka_jars)
    yield home
    KafkaBroker(home / "services" / "kafka").kill()


@pytest.fixture(autouse=True)
def _settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = environments.Settings(home=home, data=None)
    monkeypatch.setattr(environments, "settings", lambda: here)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(services, arguments)


def test_a_service_goes_up_once_shows_in_the_status_and_goes_down_once(tmp_path: Path) -> None:
    port = str(KafkaBroker(tmp_path).port)
    assert " down " in run("status").output
    first = run("up", "kafka", "--port", port)
    assert (first.exit_code, "kafka is up at 127.0.0.1:" + port in first.output) == (0, True)
    assert f"export CONVERGENCE_KAFKA=127.0.0.1:{port}" in first.output
    second = run("up", "kafka", "--port", port)
    assert (second.exit_code, "was up already" in second.output) == (0, True)
    listed = run("status")
    assert listed.exit_code == 0
    assert [word in listed.output for word in ("kafka", " up ", f"127.0.0.1:{port}")] == [True] * 3
    assert run("down", "kafka").output == "kafka is down\n"
    again = run("down", "kafka")
    assert (again.exit_code, again.output) == (0, "kafka was not running\n")


def test_a_service_that_died_makes_the_status_fail_until_it_is_up_or_down(home: Path, tmp_path: Path) -> None:
    run("up", "kafka", "--port", str(KafkaBroker(tmp_path).port))
    KafkaBroker(home / "services" / "kafka").kill()
    died = run("status")
    assert (died.exit_code, " died " in died.output) == (1, True)
    assert run("down", "kafka").exit_code == 0
    assert run("status").exit_code == 0


def test_a_service_that_is_held_up_is_listed_as_silent(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KafkaBroker, "pid", 4711)
    monkeypatch.setattr(KafkaBroker, "died", False)
    silent = run("status")
    assert (silent.exit_code, "does not answer" in silent.output) == (1, True)


def test_a_missing_java_is_a_platform_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert isinstance(run("up", "kafka").exception, ServiceError)


def test_an_unknown_service_is_a_usage_error_with_those_that_there_are() -> None:
    unknown = run("up", "zookeeper")
    assert (unknown.exit_code, "'kafka'" in unknown.output) == (2, True)
