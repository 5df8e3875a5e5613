"""Demos side by side: told as they happen, tables in one piece, failures not lost."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from convergence.cli.side_by_side import CLOSING, GIVE_WAY, demo_of, run_side_by_side
from convergence.services.processes import running
from tests.graph.house import ROOT

_PROGRAM = """
import sys, time
name, code = sys.argv[1].split("=")
for n in range(3):
    print(f"ok {name}/{n}"); time.sleep(0.05)
print("   {closing}")
for n in range(3):
    print(f"table of {name}"); time.sleep(0.05)
sys.exit(int(code))
"""


def told(*use_cases: str, at_once: int) -> tuple[bool, list[str]]:
    said: list[str] = []
    program = _PROGRAM.replace("{closing}", CLOSING)
    well = run_side_by_side(
        use_cases, at_once=at_once, command=lambda name: [sys.executable, "-c", program, name], say=said.append
    )
    return well, said


def test_each_table_is_told_in_one_piece_after_its_own_progress() -> None:
    well, said = told("a=0", "b=0", at_once=2)
    assert well
    for name in "ab":
        at = [n for n, line in enumerate(said) if line == f"table of {name}"]
        assert at == [at[0], at[0] + 1, at[0] + 2]
        assert CLOSING in said[at[0] - 1]
        assert max(n for n, line in enumerate(said) if line.startswith(f"ok {name}/")) < at[0]


@pytest.mark.parametrize("at_once", [1, 2])
def test_one_that_fails_fails_them_all_and_does_not_stop_the_others(at_once: int) -> None:
    well, said = told("a=1", "b=0", at_once=at_once)
    assert not well
    assert "the demo of a=1 ended with exit code 1" in said
    assert said.count("table of b") == 3


def test_what_is_still_being_built_is_told_until_nothing_is() -> None:
    _, said = told("a=0", "b=1", "c=0", at_once=1)
    assert [line for line in said if "ready" in line] == ["Not ready yet: b=1, c=0", "Not ready yet: c=0"]
    assert said[-1].endswith("s in all.")


def test_all_but_the_first_give_way() -> None:
    said: list[str] = []
    program = "import os, sys, time; time.sleep(0.5); print(sys.argv[1], os.nice(0))"
    run_side_by_side(
        ["a", "b", "c"], at_once=3, command=lambda name: [sys.executable, "-c", program, name], say=said.append
    )
    mine = os.nice(0)
    given = sorted(line for line in said if line[0] in "abc")
    assert given == [f"a {mine}", f"b {mine + GIVE_WAY}", f"c {mine + GIVE_WAY}"]


def test_what_runs_is_the_demo_of_one_use_case() -> None:
    assert demo_of("churn")[1:] == ["-m", "convergence.cli", "demo", "--use-case", "churn"]


_DEMO = """
import sys
from convergence.cli import cli, side_by_side
sleeping = [sys.executable, "-I", "-S", "-c", "import time; print('started', flush=True); time.sleep(600.25)"]
side_by_side.run_side_by_side.__kwdefaults__["command"] = lambda name: sleeping
cli(["demo"], standalone_mode=False)
"""


def test_sigterm_ends_the_demos_with_the_command_and_its_exit_code_says_so() -> None:
    command = [sys.executable, "-W", "ignore", "-c", _DEMO]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        process.terminate()
        assert process.wait(timeout=30) == 128 + signal.SIGTERM
        left = [pid.parent.name for pid in Path("/proc").glob("[0-9]*/stat") if running(int(pid.parent.name), "600.25")]
        assert left == []
