"""Starts Dagster so that it can be stopped: one owner of its processes, one deployment per home.

As `dagster dev` it runs a code server, a daemon and a webserver, but the webserver is ours: it stands behind a guard.
"""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from convergence.errors import SettingsError
from convergence.services.processes import default_signals

Part = subprocess.Popen[bytes]

_PATIENCE = 60.0  # seconds for a code server to load, and for each part to end when it is told to
_LOOK = 0.2  # seconds between two looks at what still runs
_WORKSPACE = "load_from: [{{grpc_server: {{socket: {socket}, location_name: convergence}}}}]\n"


def serve(root: Path, home: Path, port: int) -> int:
    """Run Dagster's UI and daemon on loopback until interrupted; returns 0 then, and 1 where a part ended by itself.

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
        # of previews: no user can act on them; and dbt's project is prepared as `dagster dev` has it done
        os.environ |= {"PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore"), "DAGSTER_IS_DEV_CLI": "1"}
        with (
            TemporaryDirectory() as folder
        ):  # of this user alone; a socket's path must be short, and a home's may not be
            return _run(root, Path(folder), port)


def _run(root: Path, folder: Path, port: int) -> int:
    code, workspace, asked = folder / "code.sock", folder / "workspace.yaml", []
    workspace.write_text(_WORKSPACE.format(socket=code))
    code_server = ["dagster", "code-server", "start", "--socket", str(code), "--log-level", "warning"]
    location = ["--module-name", "convergence_assets.definitions", "--location-name", "convergence"]
    daemon = ["dagster._daemon", "run", "--workspace", str(workspace), "--code-server-log-level", "warning"]
    parts: list[Part] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: asked.append(got))
    try:
        parts.append(_start(root, *code_server, *location, "--working-directory", str(root)))
        began = time.monotonic()
        while not asked and not code.exists() and parts[0].poll() is None and time.monotonic() < began + _PATIENCE:
            time.sleep(_LOOK)
        if not asked and parts[0].poll() is None:
            parts += [_start(root, *daemon), _start(root, "convergence.cli.webserver", str(port), str(workspace))]
            print(f"http://127.0.0.1:{port}/asset-groups (Ctrl-C stops it)", flush=True)
        while not asked and all(part.poll() is None for part in parts):
            time.sleep(_LOOK)
    finally:
        ended = [part for part in parts if part.poll() is not None]
        _stop(parts)
    for part in ended if not asked else ():
        print(f"a part of it ended with exit code {part.returncode}: {part.args}", file=sys.stderr)
    return 0 if asked else 1


def _start(root: Path, *module: str) -> Part:
    command = [sys.executable, "-m", *module]
    # A shell that starts this in the background makes children ignore SIGINT, and Dagster then ignores SIGTERM too.
    return subprocess.Popen(command, cwd=root, start_new_session=True, preexec_fn=default_signals)  # noqa: PLW1509


def _stop(parts: list[Part]) -> None:
    """Tell each part and what it started to end; then end whoever is left."""
    for part in parts:
        _tell(part, signal.SIGINT)
    for part in parts:
        with suppress(subprocess.TimeoutExpired):
            part.wait(timeout=_PATIENCE)
        _tell(part, signal.SIGKILL)
        part.wait()


def _tell(part: Part, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(part.pid, number)
