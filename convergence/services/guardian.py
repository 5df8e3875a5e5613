"""The process that ends its group when whoever started them is gone; it runs alone, so that it starts in no time.

A pipe tells: its other end is held by that process alone, and is closed however that process ends. Linux has a signal
for the death of a parent, but neither grandchildren nor macOS know of it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LOOK = 0.1  # seconds between two looks at who lives


def main(number: int, patience: float) -> None:
    """Wait for the end of standard input, then signal the own group, and kill what is left of it after so long."""
    for mine in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # they are sent to the group, and this one stays
        signal.signal(mine, signal.SIG_IGN)
    sys.stdin.buffer.read()
    os.killpg(0, number)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline and any(_others()):
        time.sleep(_LOOK)
    os.killpg(0, signal.SIGKILL)


def _others() -> Iterator[str]:
    """Processes of the group, without this one and those that are dead and only wait for somebody to see it."""
    if not Path("/proc/self").exists():
        listed = subprocess.run(["ps", "-A", "-o", "pid=,state=,pgid="], capture_output=True, text=True, check=True)
        yield from (w[0] for w in map(str.split, listed.stdout.splitlines()) if _counts(*w))
        return
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            state, _, group, *_ = stat.read_text(errors="replace").rpartition(")")[2].split()
            if _counts(stat.parent.name, state, group):
                yield stat.parent.name


def _counts(pid: str, state: str, group: str) -> bool:
    return int(group) == os.getpgrp() and int(pid) != os.getpid() and state[0] != "Z"


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
