"""Processes that outlive whoever started them: known by a pid file and by their command line, never by the pid alone.

A pid is given again to another process after a crash or a reboot; the command line, which names the folder of the
service, tells ours from a stranger.
"""

import fcntl
import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Wait until no other process is inside with the same lock file; one that dies there lets the next one in.

    The file's folder is made if need be.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def spawn(command: Sequence[str], *, folder: Path, log: Path, user: str | None = None) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, in `folder`, with default signals and its output appended to `log`.

    `user`: as whom it runs, which only root may say; None: as this process.
    """
    with log.open("ab") as output:
        return subprocess.Popen[bytes](
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=default_signals,
            **as_user(user),
        )


def as_user(user: str | None) -> dict[str, Any]:
    """Arguments of `subprocess` that give all rights of this process up for those of the user."""
    if user is None:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def default_signals() -> None:
    """Undo what a shell that starts things in the background bequeaths: ignored SIGINT, and no end by SIGTERM."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def running(pid: int, marker: str) -> bool:
    """Whether the process lives and has `marker` in its command line."""
    return marker in _command_line(pid)


def end(pid: int, marker: str, number: signal.Signals, timeout: float) -> bool:
    """Send a signal to the process and everything it started; whether it was gone within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    if running(pid, marker):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
    while running(pid, marker):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _command_line(pid: int) -> str:
    """Its arguments; empty where there is no such process, or only its exit code is left."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
        except OSError:
            return ""
    command = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
