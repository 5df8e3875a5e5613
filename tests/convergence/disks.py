"""Real disks of a few MB, and folders that nobody may write: root too is bound by what is mounted."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


@contextmanager
def small_disk(at: Path, megabytes: int = 4) -> Iterator[Path]:
    """An empty file system of that size. Where nothing may be mounted, its test is skipped, but not in CI."""
    at.mkdir(exist_ok=True)
    with _mounted(["-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777", "none", str(at)], at):
        yield at


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder on a file system that is read-only meanwhile."""
    with _mounted(["--bind", str(folder), str(folder)], folder):
        subprocess.run([*_AS_ROOT, "mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield


def fill(disk: Path) -> Path:
    """Take all the space that is left; removing the file that is returned gives it back."""
    with (ballast := disk / ".ballast").open("ab") as file:
        while free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize:
            file.write(b"x" * free)
            file.flush()
    return ballast


@contextmanager
def _mounted(options: list[str], at: Path) -> Iterator[None]:
    if not shutil.which("mount") or (_AS_ROOT and not shutil.which("sudo")):
        said = "there is no mount"
    else:
        done = subprocess.run([*_AS_ROOT, "mount", *options], capture_output=True, text=True, check=False)
        said = done.stderr.strip() if done.returncode else ""
    if said:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"nothing may be mounted here: {said}")
    try:
        yield
    finally:
        subprocess.run([*_AS_ROOT, "umount", "-l", str(at)], check=True)
