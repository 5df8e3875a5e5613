"""Checksums of data files, so that whoever reads one can tell that its bytes are those that were written.

A file carries the CRC-32 of its bytes in its name; of one that delta-rs has made, merging others, it is noted below
`_checksums`. Parquet has a place for checksums of pages, but Polars 2.1 and delta-rs 1.6 neither write nor read them.
"""

import re
import uuid
import zlib
from pathlib import Path

from convergence.lake.durable import make_folder, settle_below

_NAMED = re.compile(r"\.([0-9a-f]{8})\.parquet$")
_NOTES = "_checksums"  # a folder that Delta's vacuum passes by
_SUFFIX = ".crc32"
_CHUNK = 1 << 20


def name_of(content: bytes | memoryview) -> str:
    """A new name for a data file with this content."""
    return f"{uuid.uuid4()}.{zlib.crc32(content):08x}.parquet"


def note(table: Path, path: str) -> None:
    """Note the checksum of a file below a table's folder whose name has none."""
    noted = _note_of(table, path)
    make_folder(noted.parent)
    noted.write_text(_checksum(table / path))
    settle_below(table, noted)


def forget_gone(table: Path) -> None:
    """Remove the notes about files that are gone."""
    for noted in (table / _NOTES).rglob(f"*{_SUFFIX}"):
        if not (table / noted.relative_to(table / _NOTES).with_suffix("")).exists():
            noted.unlink()


def is_changed(table: Path, path: str) -> bool:
    """Whether the bytes of a file are not those that were written; False where nobody has noted them."""
    named, noted = _NAMED.search(path), _note_of(table, path)
    if not named and not noted.exists():
        return False
    return _checksum(table / path) != (named[1] if named else noted.read_text())


def _checksum(file: Path) -> str:
    checksum = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return f"{checksum:08x}"


def _note_of(table: Path, path: str) -> Path:
    return table / _NOTES / f"{path}{_SUFFIX}"
