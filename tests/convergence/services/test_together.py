"""Real processes, of which one is killed: what becomes of the others."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from convergence.errors import ServiceError
from convergence.services.processes import running
from convergence.services.together import only_one, together
from tests.graph.house import ROOT

# it ignores the first word to end, as one that still saves does, and so does the process that it has started
_STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(subprocess.Popen(["sleep", "600.5"]).pid, flush=True)
time.sleep(600.5)
"""
_OWNER = f"""
import subprocess, sys, time
from pathlib import Path
from convergence.services.together import only_one, together
held = only_one(Path(sys.argv[1]), "a home", sys.argv[1])
with held as lock, together(patience=float(sys.argv[2]), lock=lock) as group:
    child = group.start([sys.executable, "-I", "-S", "-c", {_STUBBORN!r}], marker="600.5")
    print(child.pid, flush=True)
    time.sleep(600.5)
"""


@contextmanager
def owner(lock: Path, *, patience: float) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A process that holds the lock, its child, and the child's child."""
    command = [sys.executable, "-c", _OWNER, str(lock), str(patience)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child, grandchild = sorted(int(process.stdout.readline()) for _ in range(2))  # pids grow
        while not (
            running(child, "600.5") and running(grandchild, "600.5")
        ):  # the name of a program comes a moment after its start
            assert process.poll() is None
        try:
            yield process, child, grandchild
        finally:
            process.kill()


def gone(*pids: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if not any(running(pid, "600.5") for pid in pids):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_children_and_theirs_end_when_their_owner_is_gone(number: signal.Signals, tmp_path: Path) -> None:
    with owner(tmp_path / "lock", patience=0.5) as (process, child, grandchild):
        process.send_signal(number)
        assert process.wait(timeout=10) == -number
        assert gone(child, grandchild, within=10)


def test_the_lock_is_held_until_the_last_of_them_has_ended_and_names_who_lives(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with owner(lock, patience=2) as (process, child, _):
        with pytest.raises(ServiceError, match=rf"a home is already served by {process.pid} .*, {child} \(600.5\)"):
            only_one(lock, "a home", "me").__enter__()
        process.kill()
        process.wait(timeout=10)
        with pytest.raises(ServiceError) as refused, only_one(lock, "a home", "me"):
            pass
        assert str(child) in str(refused.value)
        assert f" {process.pid} " not in str(refused.value)
        assert gone(child, within=10)
    deadline = time.monotonic() + 10
    while True:  # the guardian ends a moment after those that it ends
        try:
            with only_one(lock, "a home", "me"):
                assert lock.read_text().endswith(" me\n")
                return
        except ServiceError:
            assert time.monotonic() < deadline


def test_what_was_started_is_ended_with_the_context_at_once() -> None:
    began = time.monotonic()
    with together(patience=30) as group:
        child = group.start(["sleep", "600.5"])
        assert group.ended == []
    assert child.returncode == -signal.SIGTERM
    assert time.monotonic() - began < 10


def test_a_dead_guardian_is_told_like_any_other_that_ended() -> None:
    with together(patience=1) as group:
        guardian = group.members[0]
        guardian.kill()
        guardian.wait()
        assert group.ended == [guardian]
