"""Processes that write to a lake, so that they can race each other and be killed."""

import itertools
import multiprocessing
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier, Event
from typing import Any

import polars as pl

from convergence.errors import ConcurrentWrite
from convergence.lake.manifests import record
from convergence.lake.tables import Lake
from tests.convergence.lake.frames import TABLE, day, rows, write

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])  # else each process imports everything again


def start(target: Any, *arguments: Any) -> BaseProcess:
    process = PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def generation(number: int) -> pl.DataFrame:
    """Rows of day 0 that tell which write they are from, and how many belong to it."""
    height = 5_000 + number % 7
    return rows(0, *([number] * height)).with_columns(
        noise=pl.int_range(height).hash(number).cast(pl.Int64, strict=False)
    )


def overwrite_for_ever(root: str, first: int, writes: int, ready: Event) -> None:
    """Write one generation after the other; say so once `writes` of them are there."""
    for number in itertools.count(first):
        frame = generation(number)
        if number == first + writes:
            ready.set()
        write(Lake(root), frame)


def write_own_day(root: str, number: int, times: int, together: Barrier) -> None:
    together.wait()
    for turn in range(times):
        write(Lake(root), rows(number, *[turn] * (number + 1)))


def write_same_day(root: str, number: int, together: Barrier, won: Any) -> None:
    lake = Lake(root)
    together.wait()
    try:
        lake.replace(TABLE, {day(0): rows(0, number)}, {}, None)
        won.put(number)
    except ConcurrentWrite as error:
        won.put(str(error))


def record_for_a_while(root: str, times: int, together: Barrier) -> None:
    together.wait()
    for _ in range(times):
        record(Lake(root), [TABLE])
