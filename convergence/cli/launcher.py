"""Starts Dagster so that it can be stopped: one owner of the process group, one deployment per home."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from convergence.errors import SettingsError
from convergence.services.processes import default_signals


def serve(root: Path, home: Path, port: int) -> int:
    """Run Dagster's UI and daemon on loopback until interrupted; returns its exit code.

    Raises SettingsError when the port is taken or another process serves the same home: two daemons on one home
    would both launch runs.
    """
    with (home / "serve.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise SettingsError(
                f"{home.parent.name} is already served by process {lock.read().strip()}: stop it first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise SettingsError(f"port {port} is taken: choose another with --port")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of previews: no user can act on them
        command = [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workspace", str(root / "workspace.yaml")]
        # A shell that starts this in the background makes children ignore SIGINT, and Dagster then ignores SIGTERM too.
        process = subprocess.Popen(command, cwd=root, start_new_session=True, preexec_fn=default_signals)  # noqa: PLW1509
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: _stop(process, signal.SIGINT))
        print(f"http://127.0.0.1:{port}/asset-groups (Ctrl-C stops it)", flush=True)
        process.wait()
        _stop(process, signal.SIGKILL)  # whoever is left of the group
        return 0 if process.returncode in (0, -signal.SIGINT, -signal.SIGTERM) else process.returncode


def _stop(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
