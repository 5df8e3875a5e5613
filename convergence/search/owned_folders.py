"""Folders that belong to a process for as long as it lives; what a killed one leaves is known by its lock being free.

A pid in a name would be given again to another process; the lock of a file ends with whoever held it.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from convergence.services.processes import one_at_a_time

LOCK = ".lock"


@contextmanager
def owned(root: Path, prefix: str) -> Iterator[Path]:
    """A new folder below `root`, whose name starts with a dot and `prefix`; removed at the end, if it is still there.

    First removes the folders whose owners have died.
    """
    with one_at_a_time(root / LOCK):
        sweep(root)
        folder = root / f".{prefix}-{os.getpid()}-{uuid4().hex[:8]}"
        folder.mkdir()
        held = os.open(folder, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(held)


def sweep(root: Path) -> None:
    """Remove the folders of owners that have died; only for who holds the lock of `root`."""
    for folder in root.glob(".*-*"):
        with suppress(FileNotFoundError):  # its owner may end at any time
            held = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            except BlockingIOError:
                pass  # its owner lives
            finally:
                os.close(held)


def copied(source: Path, target: Path) -> None:
    """Copy a folder with its holes: an engine reserves 32 MB a file, most of which is never written."""
    shutil.copytree(source, target, copy_function=_copy, dirs_exist_ok=True)


def _copy(source: str, target: str) -> None:
    with open(source, "rb") as old, open(target, "wb") as new:  # noqa: PTH123
        end = os.fstat(old.fileno()).st_size
        new.truncate(end)
        at = 0
        while at < end:
            try:
                at = os.lseek(old.fileno(), at, os.SEEK_DATA)
            except OSError:  # nothing but a hole until the end
                return
            until = os.lseek(old.fileno(), at, os.SEEK_HOLE)
            while at < until:
                at += os.copy_file_range(old.fileno(), new.fileno(), until - at, at, at)
