"""Faults break where and when they were told to, and not otherwise."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from convergence import faults
from convergence.errors import SettingsError
from convergence.faults import POINTS, arm, fault


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    faults._armed.clear()


def test_nothing_breaks_unless_armed() -> None:
    for point in POINTS:
        fault(point)


@pytest.mark.parametrize("turn", [1, 3])
def test_it_breaks_once_at_its_turn(turn: int) -> None:
    arm(f"after_data:{turn}:fail")
    for _ in range(turn - 1):
        fault("after_data")
    fault("before_data")
    with pytest.raises(OSError, match="injected"):
        fault("after_data")
    fault("after_data")


def test_of_all_that_are_armed_alike_one_breaks(tmp_path: Path) -> None:
    for is_first in (True, False):
        arm(f"open:1:fail:{tmp_path / 'a:b'}")
        if is_first:
            with pytest.raises(OSError, match="injected"):
                fault("open")
        else:
            fault("open")


@pytest.mark.parametrize(("action", "by"), [("kill", signal.SIGKILL)])
def test_a_process_ends_by_its_signal(action: str, by: signal.Signals) -> None:
    program = f"from convergence.faults import arm, fault; arm('open:1:{action}'); fault('open'); print('alive')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-by, b"")


@pytest.mark.parametrize("text", ["", "open", "open:1", "nowhere:1:kill", "open:0:kill", "open:-1:kill", "open:1:sing"])
def test_what_cannot_be_armed_is_an_error_that_lists_what_can(text: str) -> None:
    with pytest.raises(SettingsError, match=r"expected POINT:PASS:ACTION.*after_data.*kill"):
        arm(text)
