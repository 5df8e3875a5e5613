"""A copy of a home that is proved whole when it is put back; whoever works in the home meanwhile goes on.

What names something is copied before what it names, and only grows or is replaced whole: so the copy may hold more
than is named in it, and never less.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path, PurePosixPath

from convergence.errors import FileRefused
from convergence.lake.acknowledged import FILE

LIST = "backup.json"  # written last: without it a backup was not finished
LEFT_OUT = ("online", "warehouse", "services", "logs", "traces")  # made again from the rest, or of this machine alone

_CHUNK = 1 << 20
_PASSING = ("-wal", "-shm", "-journal", ".lock", ".sock", ".pid")


def backup(home: Path, target: Path) -> dict[str, str]:
    """Copy a home to a new folder; the SHA-256 of each file by its path. Raises FileRefused where there is something.

    Whoever may read the copy may read the home: secrets for erasure are among it.
    """
    if target.resolve().is_relative_to(home.resolve()) or (target.exists() and any(target.iterdir())):
        raise FileRefused(f"{target} is not empty, or within the home itself: name a new folder")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    sums: dict[str, str] = {}
    for path in _in_order(home):
        name = path.relative_to(home).as_posix()
        if name in sums:
            continue
        with suppress(FileNotFoundError):  # nobody needs it any more: what names it was copied before, or goes too
            sums[name] = _copied(path, target / name)
    os.sync()
    (target / f".{LIST}").write_text(json.dumps({"files": sums}, indent=1))
    (target / f".{LIST}").rename(target / LIST)
    os.sync()
    return sums


def restore(source: Path, home: Path) -> int:
    """Put a backup in the place of an empty home, or none; the number of files.

    Raises FileRefused, and makes no home, where a file of it is missing or not as it was, or the home is not empty.
    """
    if home.exists() and any(home.iterdir()):
        raise FileRefused(f"{home.name} is not empty: move it away, or let CONVERGENCE_HOME name a new folder")
    sums = _list_of(source)
    fresh = home.with_name(f".{home.name}.restoring")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    try:
        for name, digest in sums.items():
            if not (source / name).is_file():
                raise FileRefused(f"{name} is missing in the backup; nothing was restored: take another backup")
            if _copied(source / name, fresh / name, as_it_is=True) != digest:
                raise FileRefused(f"{name} is not what was backed up; nothing was restored: take another backup")
        os.sync()
        fresh.rename(home)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return len(sums)


def _list_of(source: Path) -> dict[str, str]:
    try:
        sums = dict(json.loads((source / LIST).read_text())["files"])
    except FileNotFoundError:
        raise FileRefused(f"{source} has no {LIST}: it is no backup, or one that was not finished") from None
    except (ValueError, KeyError, TypeError) as error:
        raise FileRefused(f"{LIST} is damaged ({type(error).__name__}): take another backup") from error
    if strange := [name for name in sums if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]:
        raise FileRefused(f"{LIST} names {strange[0]!r}, which is outside of a home: it is no backup of ours")
    return sums


def _in_order(home: Path) -> Iterator[Path]:
    """Every file of a home: what names others first. A file may come twice."""
    lake = home / "lake"
    yield from sorted((lake / "_generations").glob("*.json"))
    yield lake / "_audit" / "head.json"
    tables = sorted(log.parent for log in lake.rglob("_delta_log"))
    for table in sorted(tables, key=lambda table: table.name != "_manifests"):  # it tells of the logs of the others
        yield table / FILE
        yield table / "_delta_log" / "_last_checkpoint"
        yield from sorted((table / "_delta_log").iterdir())
    yield from sorted((home / "indexes").glob("*/live.json"))
    yield from sorted(path for path in home.rglob("*.db") if path.relative_to(home).parts[0] not in LEFT_OUT)
    for path in sorted(home.rglob("*")):
        parts = path.relative_to(home).parts
        passing = path.name.endswith(_PASSING) or path.name.startswith(".lock")
        if parts[0] in LEFT_OUT or passing or (parts[0] == "indexes" and _hidden(parts)):
            continue
        if path.is_file() and not path.is_symlink():
            yield path


def _hidden(parts: tuple[str, ...]) -> bool:
    """Whether it belongs to a process that is at work."""
    return any(part.startswith(".") for part in parts)


def _copied(path: Path, to: Path, *, as_it_is: bool = False) -> str:
    """Copy a file, a database of SQLite's as of one moment; the SHA-256 of the copy."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with path.open("rb") as file:
        if path.suffix == ".db" and not as_it_is and file.read(16) == b"SQLite format 3\0":
            with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(to)) as new:
                old.backup(new)
                new.execute("PRAGMA journal_mode = DELETE")
            shutil.copymode(path, to)
            return sha256(to.read_bytes()).hexdigest()
        file.seek(0)
        digest = sha256()
        with to.open("wb") as copy:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
    shutil.copymode(path, to)
    return digest.hexdigest()
