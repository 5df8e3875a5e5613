import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from convergence.errors import ServiceError
from convergence.services.processes import running
from convergence.services.redis import connect, stop_embedded
from tests.convergence.redis_servers import redis_server
from tests.graph.house import ROOT

_OTHER = "from convergence.services.redis import connect; from pathlib import Path; print(connect(None, Path({!r})).{})"


def other_process(home: Path, call: str) -> str:
    command = [sys.executable, "-c", _OTHER.format(str(home), call)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def test_processes_of_a_home_share_the_embedded_server_and_its_data_outlive_them(tmp_path: Path) -> None:
    first = other_process(tmp_path, "set('a', 1)")
    assert first == "True"
    mine = connect(None, tmp_path)
    assert mine.get("a") == b"1"
    other_process(tmp_path, "set('b', 2)")
    assert mine.get("b") == b"2"  # the other's end did not stop it
    socket = mine.connection_pool.connection_kwargs["path"]
    mine.close()
    stop_embedded(tmp_path)
    with pytest.raises(RedisError):
        Redis(unix_socket_path=socket).ping()
    assert other_process(tmp_path, "get('b')") == "b'2'"


def test_nobody_else_can_reach_the_embedded_server(tmp_path: Path) -> None:
    client = connect(None, tmp_path)
    try:
        assert client.config_get("port") == {"port": "0"}
        assert (tmp_path / "online").stat().st_mode & 0o077 == 0
        assert Path(client.connection_pool.connection_kwargs["path"]).parent.stat().st_mode & 0o077 == 0
    finally:
        client.close()
        stop_embedded(tmp_path)


def test_an_answer_is_waited_for_as_long_as_was_said_and_no_longer(tmp_path: Path) -> None:
    with redis_server() as url:
        client = connect(url, tmp_path, timeout=0.05)
        assert client.ping()
        Redis.from_url(url).execute_command("CLIENT", "PAUSE", 3_000, "ALL")
        began = time.perf_counter()
        with pytest.raises(RedisError):
            client.get("a")
        assert time.perf_counter() - began < 1
    assert not (tmp_path / "online").exists()


def test_a_url_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="redis://host:6379/0"):
        connect("http://host", tmp_path)


def test_a_server_that_was_killed_is_started_again_with_its_saved_data(tmp_path: Path) -> None:
    client = connect(None, tmp_path)
    client.set("a", 1)
    client.save()
    os.kill(client.info("server")["process_id"], signal.SIGKILL)
    stop_embedded(tmp_path)
    assert connect(None, tmp_path).get("a") == b"1"
    stop_embedded(tmp_path)


def test_a_home_that_was_removed_leaves_no_server_behind(tmp_path: Path) -> None:
    pid = connect(None, tmp_path).info("server")["process_id"]
    shutil.rmtree(tmp_path)
    stop_embedded(tmp_path)
    deadline = time.monotonic() + 10
    while running(pid, "redis-server"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_home_with_a_long_path_has_a_server_too(tmp_path: Path) -> None:
    home = tmp_path / ("long" * 30)
    assert connect(None, home).ping()
    stop_embedded(home)


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "online").mkdir()
    (tmp_path / "online" / "redis.rdb").write_bytes(b"not a database")
    with pytest.raises(ServiceError, match=r"redis\.log"):
        connect(None, tmp_path)


@pytest.mark.parametrize("planted", ["link", "file", "open"])
def test_a_folder_for_the_socket_that_is_not_this_users_alone_is_refused(
    planted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, home = tmp_path / "shared", tmp_path / ("a" * 100)
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    place = shared / f"convergence-{sha256(str(home / 'online').encode()).hexdigest()[:16]}"
    if planted == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    elif planted == "file":
        place.touch(mode=0o600)
    else:
        place.mkdir()
        place.chmod(0o770)
    with pytest.raises(ServiceError, match="no folder of this user alone"):
        connect(None, home)
    assert not list((tmp_path / "elsewhere").glob("*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another user")
def test_a_folder_for_the_socket_that_another_user_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ("a" * 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = tmp_path / f"convergence-{sha256(str(home / 'online').encode()).hexdigest()[:16]}"
    place.mkdir(mode=0o700)
    os.chown(place, 65534, 65534)
    with pytest.raises(ServiceError, match="owner 65534"):
        connect(None, home)
