"""PostgreSQL as one local process: the system's binaries, on loopback, behind a password that only the folder knows.

A superuser of PostgreSQL may run programs as the server's user, so a server of ours asks for a password even on
loopback. PostgreSQL refuses to run as root: then it runs as the system's user `postgres`.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

from convergence.errors import ServiceError
from convergence.services.ports import free_ports, listens, refuse_taken
from convergence.services.processes import as_user, end, one_at_a_time, running, spawn

PORT = 5432
USER = "convergence"  # the database's
LOG_LINES = 15

_SYSTEM_USER = "postgres"
_PACKAGED = Path("/usr/lib/postgresql")  # where Debian keeps the versions, outside of the PATH


def postgres_binaries() -> Path:
    """The folder of `postgres` and `initdb`: the PATH's, or the newest packaged one. Raises ServiceError: neither."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    packaged = sorted(_PACKAGED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if packaged:
        return packaged[-1].parent
    raise ServiceError(
        f"no initdb in PATH or below {_PACKAGED}: install PostgreSQL (Debian: apt-get install postgresql), or set "
        "CONVERGENCE_POSTGRES to a server that there is"
    )


class PostgresServer:
    """A server and its folder. `port` None: the port it had last, or a free one if it never ran."""

    def __init__(self, folder: Path, *, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.port = port or self.last_port or free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        self._data = self.folder / "data"
        self._marker = f"-D {self._data}"

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    @property
    def url_file(self) -> Path:
        """The file, of its owner alone, with the URL that clients need: it holds the password."""
        return self.folder / "url"

    @property
    def url(self) -> str:
        """What CONVERGENCE_POSTGRES is set to. Raises ServiceError where the server was never started."""
        if not self.url_file.exists():
            raise ServiceError(f"no PostgreSQL was started in {self.folder}: `convergence services up postgres`")
        return self.url_file.read_text().strip()

    @property
    def last_port(self) -> int | None:
        """The port of its last start."""
        return urlsplit(self.url).port if self.url_file.exists() else None

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        """The server's process, None where it does not run."""
        last = self._started()
        return last if last and running(last, self._marker) else None

    @property
    def died(self) -> bool:
        """Whether it was started, was not stopped, and runs no more."""
        return self._started() is not None and self.pid is None

    def reachable(self) -> bool:
        """Whether something takes connections on its port."""
        return listens(self.port)

    def start(self, timeout: float = 60) -> bool:
        """Start it and return when it answers; False: it ran already. The folder's data are kept.

        Raises ServiceError where PostgreSQL is not installed, when the port is taken, when it runs on another port, or
        when the server dies or stays silent for `timeout` seconds.
        """
        binaries, user = postgres_binaries(), _server_user()
        self.folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(self.folder / ".lock"):
            if self.pid is not None:
                if self.port != self.last_port:
                    told = f"PostgreSQL runs on port {self.last_port}, not {self.port}: stop it, or use that"
                    raise ServiceError(told)
                return False
            refuse_taken("server", self.port)
            if not (self._data / "PG_VERSION").exists():
                self._initialise(binaries, user)
            elif self.port != self.last_port:
                self._keep_url(urlsplit(self.url).password or "")
            log_from = self.log.stat().st_size if self.log.exists() else 0
            listening = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
            quiet = "-c log_min_messages=log"  # errors of statements quote rows, and are the client's to tell
            command = [str(binaries / "postgres"), *self._marker.split(" ", 1), *listening.split(" ")]
            command += quiet.split(" ")
            self._process = spawn(command, folder=self.folder, log=self.log, user=user)
            self._wait_until_ready(timeout, log_from)
        return True

    def stop(self, timeout: float = 60) -> bool:
        """End it in good order; False: it did not run. Raises ServiceError when it has not ended after `timeout`."""
        pid = self.pid
        # SIGINT ends the clients' sessions; at SIGTERM it would wait for them
        if pid is not None and not end(pid, self._marker, signal.SIGINT, timeout):
            raise ServiceError(f"PostgreSQL (process {pid}) has not ended in {timeout:.0f} s: see {self.log}")
        self._reap()
        self._pid_file.unlink(missing_ok=True)
        return pid is not None

    def kill(self) -> None:
        """End it at once, as a crash would; `start` brings it back with its data."""
        pid = self.pid
        if pid is not None:
            end(pid, self._marker, signal.SIGKILL, timeout=10)
        self._reap()

    @property
    def _pid_file(self) -> Path:
        return self._data / "postmaster.pid"  # PostgreSQL's own

    def _started(self) -> int | None:
        """Process of the last start that no stop has followed."""
        try:
            return int(self._pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _keep_url(self, password: str) -> None:
        self.url_file.unlink(missing_ok=True)
        self.url_file.touch(mode=0o600)
        self.url_file.write_text(f"postgresql://{USER}:{password}@{self.address}/postgres\n")

    def _initialise(self, binaries: Path, user: str | None) -> None:
        """Make the data folder, with a new password."""
        password, given = secrets.token_hex(16), self.folder / ".password"
        given.touch(mode=0o600)
        try:
            given.write_text(password)
            if user is not None:
                for path in (self.folder, given):
                    shutil.chown(path, user)
            options = f"-U {USER} --auth scram-sha-256 --encoding UTF8 --locale C --pwfile".split(" ")
            command = [str(binaries / "initdb"), *self._marker.split(" ", 1), *options, str(given)]
            done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **as_user(user))
        finally:
            given.unlink()
        if done.returncode != 0:
            as_whom = f" as the user {user}, who must be able to enter each folder above it" if user else ""
            raise ServiceError(f"PostgreSQL's folder could not be made{as_whom}: {done.stderr.strip()[-2000:]}")
        self._keep_url(password)

    def _wait_until_ready(self, timeout: float, log_from: int) -> None:
        deadline = time.monotonic() + timeout
        while not _answers(self.url):
            dead = self._process is None or self._process.poll() is not None
            if dead or time.monotonic() > deadline:
                said = self.log.read_bytes()[log_from:].decode(errors="replace").splitlines()[-LOG_LINES:]
                self.kill()
                what = "died while it started" if dead else f"has not answered on {self.address} in {timeout:.0f} s"
                raise ServiceError("\n".join([f"PostgreSQL {what}; the end of {self.log}:", *said]))
            time.sleep(0.02)


def _server_user() -> str | None:
    """As whom the server runs; None: as this process."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_SYSTEM_USER).pw_name
    except KeyError:
        raise ServiceError(
            f"PostgreSQL does not run as root, and there is no user {_SYSTEM_USER} to run it: make one, or start it "
            "as another user"
        ) from None


def _answers(url: str) -> bool:
    """Whether a client gets in."""
    import psycopg2

    try:
        psycopg2.connect(url, connect_timeout=5).close()
    except psycopg2.OperationalError:
        return False
    return True
