"""Processes that end with whoever started them, and one lock that is held for as long as any of them lives."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from convergence.errors import ServiceError
from convergence.services import guardian
from convergence.services.processes import default_signals, running

Process = subprocess.Popen[Any]

GRACE = 10.0  # seconds in which a process may end by itself, once it is told to


@dataclass(frozen=True)
class Together:
    """Processes of one group; the first of them is its guardian. Threads may start some at once."""

    members: list[Process]
    lock: IO[str] | None
    patience: float = field(default=GRACE)

    @property
    def ended(self) -> list[Process]:
        """Those that run no more."""
        return [member for member in self.members if member.poll() is not None]

    def start(self, command: Sequence[str], *, marker: str = "", **options: Any) -> Process:
        """As `Popen`, with default signals. `marker`, part of its command line: what it is called beside the lock."""
        # A shell that starts this in the background makes children ignore SIGINT, and Dagster then ignores SIGTERM too.
        options |= {"process_group": self.members[0].pid, "pass_fds": _held(self.lock)}
        process = subprocess.Popen(command, preexec_fn=default_signals, **options)  # noqa: PLW1509
        self.members.append(process)
        _sign(self.lock, process.pid, marker)
        return process

    def end(self, number: signal.Signals) -> None:
        """Tell the group to end and wait for what was started here; then kill what is left, grandchildren too."""
        deadline = time.monotonic() + self.patience
        try:
            self._tell(number)
            for member in self.members[1:]:
                with suppress(subprocess.TimeoutExpired):
                    member.wait(timeout=max(0, deadline - time.monotonic()))
        finally:
            self._tell(signal.SIGKILL)
            for member in self.members:
                member.wait()

    def _tell(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the latter is macOS's word for a group of the dead
            os.killpg(self.members[0].pid, number)


@contextmanager
def together(
    *, number: signal.Signals = signal.SIGTERM, patience: float = GRACE, lock: IO[str] | None = None
) -> Iterator[Together]:
    """A group of processes that is ended with this context, or when this process is gone, be it by `kill -9`.

    `number` tells them to end, `patience` is for how many seconds they may take. They inherit `lock`. A process that
    makes a group of its own leaves this one: that is how servers outlive whoever starts them.
    """
    alone = [sys.executable, "-I", "-S", guardian.__file__, str(int(number)), str(patience)]
    first = subprocess.Popen(alone, stdin=subprocess.PIPE, cwd="/", process_group=0, pass_fds=_held(lock))
    _sign(lock, first.pid, Path(guardian.__file__).name)
    group = Together([first], lock, patience)
    try:
        yield group
    finally:
        group.end(number)
        assert first.stdin
        first.stdin.close()


@contextmanager
def only_one(path: Path, of: str, marker: str) -> Iterator[IO[str]]:
    """Hold the lock of what is called `of`, as `marker`; those who are started with the lock hold it on.

    Raises ServiceError, which names the processes, while anybody holds it.
    """
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            signed = (line.partition(" ") for line in lock.read().splitlines())
            alive = {pid: name for pid, _, name in signed if running(int(pid), name)}
            named = ", ".join(f"{pid} ({name})" for pid, name in alive.items())
            raise ServiceError(
                f"{of} is already served by {named or 'a process that did not sign'}: stop it first"
                + (f" (kill {' '.join(alive)})" if alive else "")
            ) from None
        lock.truncate(0)
        _sign(lock, os.getpid(), marker)
        yield lock


def _held(lock: IO[str] | None) -> tuple[int, ...]:
    return (lock.fileno(),) if lock else ()


def _sign(lock: IO[str] | None, pid: int, marker: str) -> None:
    if lock:
        lock.write(f"{pid} {marker}\n")
        lock.flush()
