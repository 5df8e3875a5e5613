"""Starts Dagster so that it can be stopped: one owner of its processes, one deployment per home.

As `dagster dev` it runs a code server, a daemon and a webserver, but the webserver is ours: it stands behind a guard.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from convergence.errors import SettingsError
from convergence.services.together import only_one, together

_PATIENCE = 60.0  # seconds for a code server to load, and for the parts to end when they are told to
_LOOK = 0.2  # seconds between two looks at what still runs
_WORKSPACE = "load_from: [{{grpc_server: {{socket: {socket}, location_name: convergence}}}}]\n"


def serve(root: Path, home: Path, port: int) -> int:
    """Run Dagster's UI and daemon on loopback until interrupted; returns 0 then, and 1 where a part ended by itself.

    Raises SettingsError when the port is taken, and ServiceError while any process of another start on this home
    lives: two daemons on one home would both launch runs.
    """
    with only_one(home / "serve.lock", home.parent.name, "convergence") as lock:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise SettingsError(f"port {port} is taken: choose another with --port")
        # of previews: no user can act on them; and dbt's project is prepared as `dagster dev` has it done
        os.environ |= {"PYTHONWARNINGS": os.environ.get("PYTHONWARNINGS", "ignore"), "DAGSTER_IS_DEV_CLI": "1"}
        with (
            TemporaryDirectory() as folder
        ):  # of this user alone; a socket's path must be short, and a home's may not be
            return _run(root, Path(folder), port, lock)


def _run(root: Path, folder: Path, port: int, lock: IO[str]) -> int:
    code, workspace, asked = folder / "code.sock", folder / "workspace.yaml", []
    workspace.write_text(_WORKSPACE.format(socket=code))
    code_server = ["dagster", "code-server", "start", "--socket", str(code), "--log-level", "warning"]
    location = ["--module-name", "convergence_assets.definitions", "--location-name", "convergence"]
    daemon = ["dagster._daemon", "run", "--workspace", str(workspace), "--code-server-log-level", "warning"]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: asked.append(got))
    with together(number=signal.SIGINT, patience=_PATIENCE, lock=lock) as parts:

        def start(module: str, *arguments: str) -> None:
            command = [sys.executable, "-m", module, *arguments]
            parts.start(command, marker=module, cwd=root, stdin=subprocess.DEVNULL)

        start(*code_server, *location, "--working-directory", str(root))
        began = time.monotonic()
        while not asked and not code.exists() and not parts.ended and time.monotonic() < began + _PATIENCE:
            time.sleep(_LOOK)
        if not asked and not parts.ended:
            start(*daemon)
            start("convergence.cli.webserver", str(port), str(workspace))
            print(f"http://127.0.0.1:{port}/asset-groups (Ctrl-C stops it)", flush=True)
        while not asked and not parts.ended:
            time.sleep(_LOOK)
        ended = parts.ended
    for part in ended if not asked else ():
        print(f"a part of it ended with exit code {part.returncode}: {part.args}", file=sys.stderr)
    return 0 if asked else 1
