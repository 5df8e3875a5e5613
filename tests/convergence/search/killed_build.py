"""Builds of snapshots that are killed by SIGKILL, each at the place that the name of its root tells."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from convergence.lake import durable
from convergence.search.qdrant_edge_index import EdgeIndex
from convergence.search.snapshots import Snapshots
from tests.convergence.search.index_points import made

DEATHS: dict[str, tuple[Any, str, int]] = {  # what is called, and at which call of it the process dies
    "copying": (shutil, "copytree", 1),
    "deleting": (EdgeIndex, "delete", 1),
    "second-modality": (EdgeIndex, "upsert", 2),
    "optimizing": (EdgeIndex, "optimize", 2),
    "closing": (EdgeIndex, "close", 1),
    "describing": (pl.DataFrame, "write_parquet", 1),
    "syncing": (durable, "settle", 5),
    "naming": (Path, "rename", 1),
}


def dying(function: Callable[..., Any], call: int) -> Callable[..., Any]:
    """The function, which kills the process when it is called for the n-th time."""
    calls = iter(range(1, call))

    def wrapped(*args: Any, **more: Any) -> Any:
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **more)

    return wrapped


def second() -> dict[str, pl.DataFrame]:
    """What the build that dies is of: one item less than the first build, in both modalities."""
    return {name: made(50, seed=seed).slice(1) for name, seed in (("text", 0), ("image", 1))}


def die(root: Path, death: str) -> None:
    """Build the second snapshot, and be killed at the place that `death` names."""
    place, name, call = DEATHS[death]
    setattr(place, name, dying(getattr(place, name), call))
    Snapshots(root).build("second", second(), {}, "first")


if __name__ == "__main__":
    pids = {}
    for root in map(Path, sys.argv[1:]):
        if not (pid := os.fork()):  # before anything starts a thread; importing once is most of the time
            die(root, root.name)
            os._exit(0)
        pids[root.name] = pid
    for death, pid in pids.items():
        print(death, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
