"""PostgreSQL as a process: what is kept over a kill, who gets in, and what is said when it cannot start."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from click.testing import CliRunner, Result

from convergence.cli.services import services
from convergence.errors import ServiceError
from convergence.services import postgres as module
from convergence.services.ports import free_ports
from convergence.services.postgres import PostgresServer
from resources import environments


@pytest.fixture(scope="module")
def mortal(postgres_folder: Path) -> Iterator[PostgresServer]:
    """A server that the tests of this module may kill."""
    server = PostgresServer(postgres_folder / "mortal")
    server.start()
    yield server
    server.stop()


def rows(server: PostgresServer, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(server.url)
    with connection, connection.cursor() as cursor:
        cursor.execute(statement)
        found = cursor.fetchall()
    connection.close()
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(services, arguments)


def test_what_was_committed_is_there_after_a_kill_and_a_restart_on_the_same_port(mortal: PostgresServer) -> None:
    rows(mortal, "create table kept as select 1 as one; select 1")
    before = mortal.url
    mortal.kill()
    assert (mortal.pid, mortal.died, mortal.reachable()) == (None, True, False)
    assert mortal.start()
    assert (mortal.url, mortal.died) == (before, False)
    assert rows(mortal, "select one from kept") == [(1,)]


def test_any_process_finds_it_by_its_folder_and_a_second_start_leaves_it_alone(mortal: PostgresServer) -> None:
    elsewhere = PostgresServer(mortal.folder)
    assert (elsewhere.pid, elsewhere.port) == (mortal.pid, mortal.port)
    assert not elsewhere.start()
    with pytest.raises(ServiceError, match=f"runs on port {mortal.port}"):
        PostgresServer(mortal.folder, port=free_ports(1)[0]).start()


def test_nobody_gets_in_without_the_password_which_only_the_owner_can_read(mortal: PostgresServer) -> None:
    assert mortal.url_file.stat().st_mode & 0o077 == 0
    assert not (mortal.folder / ".password").exists()
    user, rest = mortal.url.removeprefix("postgresql://").split(":", 1)
    for password in ("", ":wrong"):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            psycopg2.connect(f"postgresql://{user}{password}@{rest.split('@')[1]}")


def test_an_open_session_does_not_keep_it_from_stopping(postgres_folder: Path) -> None:
    server = PostgresServer(postgres_folder / "stopped")
    server.start()
    session = psycopg2.connect(server.url)
    assert server.stop(timeout=20)
    assert (server.pid, server.died, server.stop()) == (None, False, False)
    session.close()


def test_a_taken_port_is_said_before_anything_is_made(postgres_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = PostgresServer(postgres_folder / "refused", port=taken.getsockname()[1])
        with pytest.raises(ServiceError, match="is taken"):
            server.start()
    assert not (server.folder / "data").exists()


def test_without_postgresql_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "_PACKAGED", tmp_path)
    with pytest.raises(ServiceError, match="apt-get install postgresql"):
        PostgresServer(tmp_path / "none").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's server is another user")
def test_a_folder_that_the_server_may_not_enter_is_a_clear_error(postgres_folder: Path) -> None:
    closed = postgres_folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ServiceError, match="must be able to enter"):
        PostgresServer(closed / "postgres").start()


def test_the_command_starts_it_once_lists_it_and_never_prints_the_password(
    postgres_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environments.Settings(home=postgres_folder / "home", data=None)
    monkeypatch.setattr(environments, "settings", lambda: here)
    port = str(free_ports(1)[0])
    first = run("up", "postgres", "--port", port)
    try:
        server = PostgresServer(here.home / "services" / "postgres")
        assert (first.exit_code, f"postgres is up at 127.0.0.1:{port}" in first.output) == (0, True)
        assert f'export CONVERGENCE_POSTGRES="$(cat {server.url_file})"' in first.output
        listed = run("status")
        assert (listed.exit_code, f"127.0.0.1:{port}" in listed.output) == (0, True)
        assert "was up already" in run("up", "postgres").output
        assert server.url.split(":")[2].split("@")[0] not in first.output + listed.output
    finally:
        down = run("down", "postgres")
    assert down.output == "postgres is down\n"
    assert run("down", "postgres").output == "postgres was not running\n"
