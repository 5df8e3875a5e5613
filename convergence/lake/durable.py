"""What is told to be stored has reached the disk: the files, and their names in their folders.

A bucket keeps what it has acknowledged. A folder does so only after fsync, which neither delta-rs nor obstore calls.
"""

import os
from pathlib import Path
from typing import Literal

import obstore
from obstore.store import LocalStore, ObjectStore

_waits = True


def wait_for_the_disk(*, wait: bool) -> None:
    """Whether this process waits from now on; without it a power cut takes what was acknowledged just before."""
    global _waits  # noqa: PLW0603
    _waits = wait


def settle(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if not _waits:
        return
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


def settle_below(root: Path, path: Path) -> None:
    """Wait until a file or folder below `root` is on the disk, and the names that lead to it."""
    for each in (path, *path.parents):
        settle(each)
        if each == root:
            return


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, that would outlive a power cut."""
    fresh = [each for each in (path, *path.parents) if not each.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for each in fresh:
        settle(each.parent)


def put(store: ObjectStore, path: str, content: bytes, *, mode: Literal["create", "overwrite"] = "overwrite") -> None:
    """`obstore.put` that returns when the object would outlive a power cut."""
    obstore.put(store, path, content, mode=mode)
    if isinstance(store, LocalStore) and store.prefix is not None:
        settle_below(Path(store.prefix), Path(store.prefix, path))
