"""Which commits of a table in a folder were acknowledged, noted beside its log, so that one that is lost is seen.

Delta reads a log whose last entry is missing or empty as the version before, and says nothing. Line n of
`_acknowledged` holds length and CRC-32 of log entry n, in hexadecimal. All lines are of one width, so each has its
place whoever comes first, and the file only grows: what it ends with was acknowledged. A crash between a commit and
its line leaves a commit more than lines, which is in order.
"""

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from convergence.errors import LakeError
from convergence.faults import fault
from convergence.lake.durable import settle

FILE = "_acknowledged"

_WIDTH = len("00000000 00000000\n")


class Entry(NamedTuple):
    """A log entry as it was when it was acknowledged."""

    version: int
    size: int
    checksum: int


def acknowledge(table: Path, version: int) -> None:
    """Wait until the log entries up to `version` are on the disk, and note those that were not noted yet."""
    log, known = table / "_delta_log", newest(table)
    fresh = range(known.version + 1 if known else 0, version + 1)
    entries = {n: entry for n in fresh if (entry := entry_of(table, n)).exists()}
    checkpoints = [log / "_last_checkpoint", *(log / f"{n:020}.checkpoint.parquet" for n in fresh)]
    for path in (*entries.values(), *filter(Path.exists, checkpoints), log):
        settle(path)
    fault("before_acknowledged")
    held = os.open(table / FILE, os.O_CREAT | os.O_WRONLY, 0o666)
    try:
        for n, entry in entries.items():
            size, checksum = _sums(entry)
            os.pwrite(held, f"{size:08x} {checksum:08x}\n".encode(), n * _WIDTH)
    finally:
        os.close(held)
    settle(table / FILE)
    if known is None:
        settle(table)


def newest(table: Path) -> Entry | None:
    """The newest entry that was acknowledged; None where none was. Raises LakeError where that cannot be told."""
    try:
        with (table / FILE).open("rb") as file:
            version = file.seek(0, os.SEEK_END) // _WIDTH - 1
            file.seek(max(version, 0) * _WIDTH)
            return _parsed(version, file.read(_WIDTH))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError) as error:
        raise LakeError(
            f"{table.name}/{FILE}, which says what of the table was acknowledged, cannot be read "
            f"({type(error).__name__}); nothing was changed. `convergence repair` with the table's name mends it"
        ) from error


def go_back(table: Path) -> int | None:
    """Set aside what is damaged at the end of a log, and forget what is lost; the version that it then ends with.

    None, and nothing is changed, where more than that is damaged.
    """
    there = {int(p.stem): p for p in (table / "_delta_log").glob("*.json") if p.stem.isdigit()}
    known = {entry.version: entry for entry in _lines(table) if isinstance(entry, Entry)}
    version = max(there, default=-1)
    while version in there and not (is_whole(there[version]) and _agree(there[version], known.get(version))):
        version -= 1
    if version < 0 or set(range(min(there), version + 1)) - there.keys():
        return None
    if version in known and _sums(there[version])[1] != known[version].checksum:
        return None  # it has its size and other bytes: what it said is not known
    for later in range(version + 1, max(there) + 1):
        set_aside(there[later])
    if (table / FILE).exists():
        os.truncate(table / FILE, min(version * _WIDTH, (table / FILE).stat().st_size // _WIDTH * _WIDTH))
        acknowledge(table, version)
    return version


def set_aside(file: Path) -> None:
    """Give a damaged file of a log another name, under which nobody looks for it."""
    file.rename(file.with_name(f"{file.name}.damaged"))
    settle(file.parent)


def loss(table: Path, version: int | None, known: Entry | None) -> str | None:
    """What of the end of a log is missing or damaged, in words.

    Args:
        version: that it was opened at; None: it could not be opened.
        known: the newest that was acknowledged before it was opened.
    """
    if version is None:
        return _first_broken(table, known)
    last = entry_of(table, version)
    if known and known.version > version:
        missing = entry_of(table, version + 1)
        return f"log entry {missing.name} is missing, and version {known.version} was acknowledged"
    if known and known.version == version:
        size, checksum = _sums(last) if last.exists() else (0, 0)
        what = "its bytes are others" if size == known.size else f"it has {size} bytes and had {known.size}"
        return None if checksum == known.checksum else _cut(last, what)
    return None if is_whole(last) else _cut(last, "its commit was not acknowledged")


def refuse_loss(table: str, folder: Path, version: int | None, known: Entry | None) -> None:
    """Raise LakeError where the end of a table's log is missing or damaged; arguments as in `loss`."""
    if lost := loss(folder, version, known):
        raise LakeError(
            f"{table} is not as it was acknowledged: {lost}; nothing was changed. Restore its folder from a backup, or "
            f"go back to what there is: `convergence repair {table}` says what is to be made again"
        )


def changed(table: Path) -> Iterator[tuple[int, str]]:
    """Versions whose log entry is not what was acknowledged, and what it is, in words."""
    for known in _lines(table):
        if isinstance(known, int):
            yield known, f"line {known + 1} of {FILE} cannot be read"
        elif not (entry := entry_of(table, known.version)).exists():
            yield known.version, f"log entry {entry.name} is missing"
        elif _sums(entry)[1] != known.checksum:
            yield known.version, f"log entry {entry.name} is not as it was acknowledged"


def entry_of(table: Path, version: int) -> Path:
    """The file of a version's log entry."""
    return table / "_delta_log" / f"{version:020}.json"


def is_whole(entry: Path) -> bool:
    """Whether a log entry is there and holds lines of JSON; delta-rs, unlike others, ends none with a line break."""
    try:
        content = entry.read_bytes()
        ends = not content.endswith(b"\n") or b'"engineInfo":"delta-rs' not in content
        return ends and bool(content) and all(json.loads(line) for line in content.splitlines())
    except (ValueError, OSError):
        return False


def _agree(entry: Path, known: Entry | None) -> bool:
    """Whether one of an entry's sums is what was acknowledged: the other may be what is damaged."""
    return known is None or any(a == b for a, b in zip(_sums(entry), (known.size, known.checksum), strict=True))


def _sums(entry: Path) -> tuple[int, int]:
    content = entry.read_bytes()
    return len(content), zlib.crc32(content)


def _lines(table: Path) -> Iterator[Entry | int]:
    """What was acknowledged; the version alone where the line is unreadable."""
    lines = (table / FILE).read_bytes() if (table / FILE).exists() else b""
    for version in range(-(-len(lines) // _WIDTH)):
        line = lines[version * _WIDTH : (version + 1) * _WIDTH]
        try:
            if line.strip(b"\0"):  # else it is of before there were lines
                yield _parsed(version, line)
        except ValueError:
            yield version


def _parsed(version: int, line: bytes) -> Entry:
    size, checksum = line.split()
    return Entry(version, int(size, 16), int(checksum, 16))


def _first_broken(table: Path, known: Entry | None) -> str | None:
    there = sorted(p for p in (table / "_delta_log").glob("*.json") if p.stem.isdigit())
    if not there:
        return f"its log is gone, and version {known.version} was acknowledged" if known else None
    versions = [int(p.stem) for p in there]
    missing = next((n for n in range(versions[0], versions[-1]) if n not in set(versions)), None)
    if missing is not None:
        return f"log entry {entry_of(table, missing).name} is missing, and later ones are there"
    broken = next((p for p in reversed(there) if not is_whole(p)), None)
    return _cut(broken, "it cannot be read") if broken else None


def _cut(entry: Path, what: str) -> str:
    said = "missing" if not entry.exists() else "damaged" if entry.stat().st_size else "empty"
    return f"log entry {entry.name} is {said}: {what}"
