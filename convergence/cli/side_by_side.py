"""The demo of several use cases, a process each, as many at once as there are cores: they share no table.

The first of them has the cores to itself when it wants them, and the others what it leaves: it is the longest, and ends
last if all share alike. What a process does is told as it happens; its closing table in one piece, when it has ended.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from convergence.services.together import together

GIVE_WAY = 10  # how much nicer all but the first are
CLOSING = "What is there now"  # title of the table that a demo ends with


def demo_of(use_case: str) -> list[str]:
    """The command that is the demo of one use case."""
    return [sys.executable, "-m", "convergence.cli", "demo", "--use-case", use_case]


def run_side_by_side(
    use_cases: Sequence[str],
    *,
    at_once: int | None = None,
    command: Callable[[str], list[str]] = demo_of,
    say: Callable[[str], object] = print,
) -> bool:
    """Run the demo of each; whether all went well. `at_once`: processes; None: as many as there are cores.

    They end with this process, and with whatever interrupts this.
    """
    began, telling, building = time.perf_counter(), Lock(), dict.fromkeys(use_cases)

    def run(use_case: str) -> bool:
        closing: list[str] = []
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        with demos.start(
            command(use_case), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        ) as process:
            assert process.stdout
            if use_case != use_cases[0]:
                # at once, because threads that it starts later inherit it
                os.setpriority(os.PRIO_PROCESS, process.pid, os.nice(0) + GIVE_WAY)
            for line in process.stdout:
                if closing or CLOSING in line:
                    closing.append(line.rstrip("\n"))
                else:
                    with telling:
                        say(line.rstrip("\n"))
        with telling:
            for line in closing:
                say(line)
            if process.returncode:
                say(f"the demo of {use_case} ended with exit code {process.returncode}")
            del building[use_case]
            if building:
                say(f"Not ready yet: {', '.join(building)}")
        return process.returncode == 0

    with ThreadPoolExecutor(at_once or os.cpu_count() or 1) as pool, together() as demos:
        well = all(list(pool.map(run, use_cases)))
    say(f"{time.perf_counter() - began:.0f} s in all.")
    return well
