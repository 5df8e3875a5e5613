"""Apache Kafka as one local process: KRaft, broker and controller in one, from the jars that deploy/kafka names.

The folder is the broker: data, configuration, log and pid file are in it, so that any process can stop, kill or
restart what another one started.
"""

import json
import signal
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path
from uuid import uuid4

from convergence.errors import ServiceError
from convergence.services.jars import install, java
from convergence.services.ports import free_ports, listens, refuse_taken
from convergence.services.processes import end, one_at_a_time, running, spawn

RECIPE = Path(__file__).parents[2] / "deploy" / "kafka"
PORT = 9092
JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
LOG_LINES = 15


def install_kafka(services: Path) -> Path:
    """The broker's jars below the folder of services; downloaded and checked once."""
    java()
    return install(RECIPE, services / "kafka")


class KafkaBroker:
    """A broker and its folder. `port` None: the port it had last, or a free one if it never ran.

    `libs` is the folder that `install_kafka` gave; whoever only looks, stops or kills needs none.
    """

    def __init__(self, folder: Path, libs: Path | None = None, *, port: int | None = None) -> None:
        self.folder = folder.resolve()
        self.libs = libs
        self._process: subprocess.Popen[bytes] | None = None
        self._properties = self.folder / "server.properties"
        self._marker = f"kafka.Kafka {self._properties}"
        last = self._started()
        if last and port in (None, last["port"]):
            self.port, self._controller = last["port"], last["controller"]
        else:
            self.port, self._controller = (port, port + 1) if port else free_ports(2)

    @property
    def bootstrap(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """Where clients connect, as other servers call it."""
        return self.bootstrap

    @property
    def log(self) -> Path:
        """What the broker says."""
        return self.folder / "broker.log"

    @property
    def pid(self) -> int | None:
        """The broker's process, None where it does not run."""
        last = self._started()
        return last["pid"] if last and running(last["pid"], self._marker) else None

    @property
    def died(self) -> bool:
        """Whether it was started, was not stopped, and runs no more."""
        return self._started() is not None and self.pid is None

    def reachable(self) -> bool:
        """Whether something takes connections on its port."""
        return listens(self.port)

    def start(self, timeout: float = 60) -> bool:
        """Start it and return when it answers; False: it ran already. The folder's data are kept.

        Raises ServiceError when a port is taken, when it runs on another port, or when the broker dies or stays
        silent for `timeout` seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(self.folder / ".lock"):
            pid = self.pid
            if pid is not None:
                self._refuse_other_port()
                self._wait_until_ready(pid, timeout, log_from=0)
                return False
            self._reap()
            refuse_taken("broker", self.port, self._controller)
            log_from = self.log.stat().st_size if self.log.exists() else 0
            self._configure()
            self._process = spawn(self._java(*self._marker.split(" ", 1)), folder=self.folder, log=self.log)
            pid = self._process.pid
            started = {"pid": pid, "port": self.port, "controller": self._controller}
            self._pid_file.write_text(json.dumps(started))
            try:
                self._wait_until_ready(pid, timeout, log_from)
            except BaseException:
                self.kill()
                self._pid_file.unlink()
                raise
        return True

    def stop(self, timeout: float = 60) -> bool:
        """End it in good order; False: it did not run. Raises ServiceError when it has not ended after `timeout`."""
        pid = self.pid
        if pid is not None and not end(pid, self._marker, signal.SIGTERM, timeout):
            raise ServiceError(f"the broker (process {pid}) has not ended in {timeout:.0f} s: see {self.log}")
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
        return self.folder / "broker.pid"

    def _started(self) -> dict[str, int] | None:
        """Process and ports of the last start that no stop has followed."""
        try:
            return json.loads(self._pid_file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _refuse_other_port(self) -> None:
        last = self._started()
        if last and last["port"] != self.port:
            raise ServiceError(f"the broker runs on port {last['port']}, not {self.port}: stop it first, or use that")

    def _configure(self) -> None:
        """Write the configuration, and format the data folder if nothing is in it yet."""
        broker, controller = (f"127.0.0.1:{port}" for port in (self.port, self._controller))
        own = {
            "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{broker}",
            "controller.quorum.voters": f"1@{controller}",
            "log.dirs": "data",  # in the working folder: a property cannot hold every path
        }
        lines = [(RECIPE / "server.properties").read_text(), *(f"{k}={v}\n" for k, v in own.items())]
        self._properties.write_text("".join(lines))
        if not (self.folder / "data" / "meta.properties").exists():
            # an id that begins with a dash would be read as an option
            cluster = urlsafe_b64encode(b"\0" + uuid4().bytes[1:]).decode().rstrip("=")
            tool = self._java("kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config")
            command = [*tool, str(self._properties)]
            done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise ServiceError(
                    f"the broker's folder could not be formatted: {(done.stderr or done.stdout)[-2000:]}"
                )

    def _java(self, *program: str) -> list[str]:
        if self.libs is None:
            raise ServiceError("a broker cannot be started without its jars: give it the folder of install_kafka")
        logging = f"-Dlog4j2.configurationFile={RECIPE / 'log4j2.properties'}"
        return [java(), *JVM, logging, "-cp", str(self.libs / "*"), *program]

    def _wait_until_ready(self, pid: int, timeout: float, log_from: int) -> None:
        deadline = time.monotonic() + timeout
        while not self.reachable():
            self._refuse_dead_or_silent(pid, timeout, deadline, log_from)
            time.sleep(0.05)
        while not _answers(self.bootstrap):
            self._refuse_dead_or_silent(pid, timeout, deadline, log_from)

    def _refuse_dead_or_silent(self, pid: int, timeout: float, deadline: float, log_from: int) -> None:
        dead = not running(pid, self._marker)
        if dead or time.monotonic() > deadline:
            said = self.log.read_bytes()[log_from:].decode(errors="replace").splitlines()[-LOG_LINES:]
            what = "died while it started" if dead else f"has not answered on {self.bootstrap} in {timeout:.0f} s"
            raise ServiceError("\n".join([f"the broker {what}; the end of {self.log}:", *said]))


def _answers(bootstrap: str) -> bool:
    """Whether a client gets the cluster's metadata."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    try:
        return bool(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=5).brokers)
    except KafkaException:
        return False
