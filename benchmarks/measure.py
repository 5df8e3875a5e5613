"""Paired timing: ours, the reference, ours, the reference ... so that a busy machine disturbs both alike."""

import gc
import logging
import resource
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from statistics import median


@dataclass(frozen=True)
class Times:
    """Wall and CPU seconds of each repetition; CPU is that of all threads and of finished child processes."""

    wall: list[float]
    cpu: list[float]


@dataclass(frozen=True)
class Row:
    """One line of a section: what was timed, and what it was timed against."""

    case: str
    ours: str
    reference: str
    wall: str
    cpu: str
    goal: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Section:
    """A measured section: its rows, and how to read them."""

    title: str
    protocol: str
    rows: list[Row]


def measured(name: str, *, quick: bool) -> Section:
    """One section, in a process that shows its own output only."""
    warnings.simplefilter("ignore")
    logging.getLogger("dagster").setLevel(logging.ERROR)
    return import_module(f"benchmarks.{name}").section(quick=quick)


def seconds() -> tuple[float, float]:
    """Wall clock and CPU clock."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in used)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call, on a swept heap."""
    gc.collect()
    wall, cpu = seconds()
    work()
    wall_after, cpu_after = seconds()
    return wall_after - wall, cpu_after - cpu


def alternately(repetitions: int, *works: Callable[[], object], before: Callable[[], object] = int) -> list[Times]:
    """Times of each work, taken in turns after one untimed round; `before` prepares every call, untimed."""
    found = [Times([], []) for _ in works]
    for repetition in range(repetitions + 1):
        for work, times in zip(works, found, strict=True):
            before()
            wall, cpu = timed(work)
            if repetition:
                times.wall.append(wall)
                times.cpu.append(cpu)
    return found


def ratio(ours: list[float], reference: list[float]) -> float:
    """Ratio of the medians."""
    return median(ours) / median(reference)


def spread(ours: list[float], reference: list[float]) -> str:
    """Ratio of the medians, and the least and greatest ratio of a pair."""
    pairs = [a / b for a, b in zip(ours, reference, strict=True)]
    return f"{ratio(ours, reference):.2f} ({min(pairs):.2f}-{max(pairs):.2f})"


def compare(case: str, ours: Times, reference: Times, at_most: float | None = None) -> Row:
    """A row of time ratios; the goal, if any, holds for wall and CPU time alike."""
    met = None if at_most is None else max(ratio(ours.wall, reference.wall), ratio(ours.cpu, reference.cpu)) <= at_most
    return Row(
        case,
        shown(ours),
        shown(reference),
        spread(ours.wall, reference.wall),
        spread(ours.cpu, reference.cpu),
        "" if at_most is None else f"≤ {at_most}",
        met,
    )


def shown(times: Times) -> str:
    """Medians of wall and CPU seconds."""
    return f"{median(times.wall):.3g} s ({median(times.cpu):.3g} s)"
