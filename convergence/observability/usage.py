"""What a piece of work took: CPU, time and memory of this process, measured by the kernel and not by sampling."""

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_FORGET_PEAK = Path("/proc/self/clear_refs")  # 5 starts the high-water mark of resident memory anew; Linux only
_STATUS = Path("/proc/self/status")
_MIB = 2**20


class Usage(NamedTuple):
    """CPU seconds include all threads and ended child processes; the peak includes what was resident before."""

    cpu_seconds: float
    elapsed_seconds: float
    peak_memory_mib: float


class Meter:
    """Counts from when it is made. Two at once in one process count the same work, and the later forgets the peak."""

    def __init__(self) -> None:
        with suppress(OSError):  # then the peak is that of the process since it began
            _FORGET_PEAK.write_text("5")
        self._cpu, self._at = _cpu_seconds(), time.perf_counter()

    def read(self) -> Usage:
        """What it has taken so far."""
        return Usage(_cpu_seconds() - self._cpu, time.perf_counter() - self._at, _peak_mib())


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak_mib() -> float:
    if _STATUS.exists():
        marks = (line.split() for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        for _, kibibytes, _ in marks:
            return int(kibibytes) / 1024
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MIB
