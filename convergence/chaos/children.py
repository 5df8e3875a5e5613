"""The platform's processes as a trial starts and breaks them: landers, and Dagster's daemon with its code server."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path

from convergence.services.processes import spawn

ROOT = Path(__file__).parents[2]


class Child:
    """A process of the platform in a session of its own, which is broken as a whole."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        wanted = [f"{name}={value}" for name, value in environment.items()]
        self.log = log
        self._orphans = False
        self._process = spawn(["env", *wanted, *command], folder=ROOT, log=log)
        self.pid = self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit status; None while it lives."""
        return self._process.poll()

    def wait(self, seconds: float) -> int | None:
        """Its exit status; None if it lives on after so long."""
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(seconds)
        return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and all it has started."""
        if self.code is None or self._orphans:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        self._process.wait()

    def kill_alone(self) -> None:
        """End it at once, and nothing of what it has started."""
        self._orphans = True
        self._process.kill()
        self._process.wait()

    def stopped(self) -> bool:
        """Whether it is held by SIGSTOP."""
        command = ["ps", "-o", "state=", "-p", str(self.pid)]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.startswith("T")


class Home:
    """One CONVERGENCE_HOME and the processes that work on it."""

    def __init__(self, folder: Path, bootstrap: str, topic: str, *, rows: int, every: float) -> None:
        self.folder, self.bootstrap = folder, bootstrap
        self._land = ["-m", "convergence.cli", "land", topic, "--rows", str(rows), "--every", f"{every:.3f}"]
        self._children: list[Child] = []

    @property
    def lake(self) -> Path:
        """The lake's folder."""
        return self.folder / "lake"

    def lander(self, fault: str = "", *, bounded: bool = False) -> Child:
        """Start `convergence land`; `bounded`: it ends when it has caught up."""
        return self._start([sys.executable, *self._land, *["--until-caught-up"] * bounded], fault, "land")

    def daemon(self, fault: str = "") -> Child:
        """Start Dagster's daemon, which starts a code server. The home must have been used before."""
        program = str(Path(sys.executable).with_name("dagster-daemon"))
        return self._start([program, "run", "--workspace", str(ROOT / "workspace.yaml")], fault, "daemon")

    def _start(self, command: list[str], fault: str, name: str) -> Child:
        environment = {
            "CONVERGENCE_HOME": str(self.folder),
            "CONVERGENCE_KAFKA": self.bootstrap,
            "CONVERGENCE_FAULT": fault,
            "DAGSTER_HOME": str(self.folder / "dagster"),
            "PYTHONFAULTHANDLER": "1",
        }
        child = Child(command, environment, self.folder / "logs" / f"{len(self._children):02}-{name}.log")
        self._children.append(child)
        return child

    def end(self) -> None:
        """Kill whatever lives."""
        for child in self._children:
            child.kill()

    def runs(self) -> list[tuple[str, str, dict[str, str]]]:
        """Dagster's runs: id, status and tags; none where Dagster has never been there."""
        store = self.folder / "dagster" / "history" / "runs.db"
        if not store.exists():
            return []
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30)) as database:
            tags: dict[str, dict[str, str]] = {}
            for run, key, value in database.execute("select run_id, key, value from run_tags"):
                tags.setdefault(run, {})[key] = value
            return [(r, status, tags.get(r, {})) for r, status in database.execute("select run_id, status from runs")]


def until(met: Callable[[], bool], seconds: float, *, every: float = 0.05) -> bool:
    """Whether a condition came true within `seconds`."""
    due = time.monotonic() + seconds
    while not met():
        if time.monotonic() > due:
            return False
        time.sleep(every)
    return True
