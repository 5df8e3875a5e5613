"""What a disk, or a file on it, has done to a command, in one line: the path, the cause and the next step.

Files fail below many libraries, each with an exception of its own. What they share is the system's number of the error,
as `errno`, in SQLite's code, or in Rust's words for it.
"""

import errno
import os
import pwd
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple


class Trouble(NamedTuple):
    """What is wrong, and the next step."""

    cause: str
    following: str


_FULL = Trouble(
    "no space is left on the disk", "free some and run it again; what was written before is whole, and counts"
)
_DENIED = Trouble("this user may not", "run it as its owner, or give it to this user")
_ABSENT = Trouble("it is missing", "restore it from a backup, or correct the path")
_DAMAGED = Trouble("it is damaged", "restore it from a backup, or move it away: it is then made anew, empty")
_DISK = Trouble("the disk reports an error", "look at the system's log; `convergence verify` says what is damaged")
_FIXED = Trouble("the file system is read-only", "make it writable, or let CONVERGENCE_HOME name one that is")

_BY_NUMBER = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: _FIXED,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.ENOENT: _ABSENT,
    errno.ENOTDIR: Trouble("it, or a folder above it, is a file", "move that away"),
    errno.EISDIR: Trouble("it is a folder", "move that away"),
    errno.EIO: _DISK,
}
_BY_SQLITE = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_READONLY: Trouble("it cannot be written", "see to its owner, its mode and the file system"),
    sqlite3.SQLITE_CANTOPEN: Trouble("it cannot be opened", "see to its owner, its mode and the file system"),
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_IOERR: _DISK,
}
_IN_WORDS = re.compile(r"\(os error (\d+)\)")  # how Rust's libraries end what the system told them


def told(error: BaseException, home: Path) -> str | None:
    """The line for an error that a disk or a file is behind, however far; None for any other."""
    for each in _chain(error):
        if isinstance(each, sqlite3.Error):
            code = getattr(each, "sqlite_errorcode", None)  # none where the module itself complains
            trouble = _BY_SQLITE.get(code & 0xFF) if code else None
            place = _unusable(home) if trouble else None
        else:
            number = _number(each)
            trouble = _BY_NUMBER.get(number) if number else None
            place = _place(each, home) if trouble else None
            if number == errno.ENOENT and place is None:
                trouble = None  # a program that is not installed, or a library's own
        if trouble:
            where = place or home
            owner = f" ({_owner(where)})" if trouble is _DENIED else ""
            return f"{_shown(where, home)}: {trouble.cause}{owner}. Next: {trouble.following}"
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno:
        return error.errno
    found = _IN_WORDS.search(str(error))
    return int(found[1]) if found else None


def _place(error: BaseException, home: Path) -> Path | None:
    """The file or folder that an error names."""
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return Path(os.fsdecode(error.filename))
    found = re.search(rf"{re.escape(str(home))}/[^\s\"'`]*", str(error))
    return Path(found[0].rstrip(".,:;)")) if found else None


def _unusable(home: Path) -> Path | None:
    """The first database of Dagster's or MLflow's that cannot be read; SQLite does not say which one it was."""
    for path in sorted(path for name in ("dagster", "mlflow") for path in (home / name).rglob("*.db")):
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
                if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                    return path
        except sqlite3.Error:
            return path
    return None


def _shown(path: Path, home: Path) -> str:
    """A path as it is called within the home; the whole of it elsewhere."""
    with suppress(ValueError):
        return str(path.resolve().relative_to(home.resolve().parent))
    return str(path)


def _owner(path: Path) -> str:
    """Who owns a file, or the nearest folder above it that there is, and who this is."""
    for each in (path, *path.parents):
        with suppress(OSError):
            there = each.stat()
            return f"owner {_user(there.st_uid)}, mode {there.st_mode & 0o777:03o}; this is {_user(os.geteuid())}"
    return f"this is {_user(os.geteuid())}"


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"uid {number}"
