"""Dagster's instance of a home, which any number of commands may open."""

import os
import subprocess
import sys
import time
from pathlib import Path

OPEN = """
import sys, time
from pathlib import Path
from dagster import DagsterInstance
from convergence import cli
from resources.environments import settings
settings()
Path(sys.argv[1]).touch()
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
with cli.instance() as instance:
    print(instance.get_runs_count())
"""


def test_commands_that_open_a_new_home_at_the_same_moment_all_work_and_leave_it_usable(tmp_path: Path) -> None:
    go, environment = tmp_path / "go", {**os.environ, "CONVERGENCE_HOME": str(tmp_path / "home")}
    ready = [tmp_path / f"ready-{number}" for number in range(4)]
    commands = [[sys.executable, "-W", "ignore", "-c", OPEN, str(mine), str(go)] for mine in ready]
    pipe = subprocess.PIPE
    openers = [subprocess.Popen(c, env=environment, stdout=pipe, stderr=pipe, text=True) for c in commands]
    while not all(mine.exists() for mine in ready) and all(opener.poll() is None for opener in openers):
        time.sleep(0.01)
    go.touch()
    for opener in openers:
        said, complained = opener.communicate(timeout=120)
        assert (opener.returncode, said) == (0, "0\n"), complained
    later = subprocess.run(commands[0], env=environment, capture_output=True, text=True, check=False)
    assert (later.returncode, later.stdout) == (0, "0\n"), later.stderr
