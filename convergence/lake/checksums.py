"""Checksums of data files, so that whoever reads one can tell that its bytes are those that were written.

A file carries the CRC-32 of its bytes in its name; one that delta-rs has made, merging others, has it noted beside it.
Parquet has a place for checksums of pages, but Polars 2.1 and delta-rs 1.6 neither write them nor look.
"""

import re
import uuid
import zlib
from pathlib import Path

from convergence.lake.durable import settle

_NAMED = re.compile(r"\.([0-9a-f]{8})\.parquet$")
_SUFFIX = ".crc32"
_CHUNK = 1 << 20


def name_of(content: bytes | memoryview) -> str:
    """A new name for a data file with this content."""
    return f"{uuid.uuid4()}.{zlib.crc32(content):08x}.parquet"


def note(file: Path) -> None:
    """Note the checksum of a file whose name has none, beside it."""
    noted = _note_of(file)
    noted.write_text(f"{_checksum(file):08x}")
    settle(noted)


def forget_gone(folder: Path) -> None:
    """Remove the notes below a folder whose files are gone."""
    for noted in folder.rglob(f".*{_SUFFIX}"):
        if not noted.with_name(noted.name.removeprefix(".").removesuffix(_SUFFIX)).exists():
            noted.unlink()


def is_changed(file: Path) -> bool:
    """Whether a file's bytes are not those that were written; False where nobody has noted them."""
    named, noted = _NAMED.search(file.name), _note_of(file)
    if not named and not noted.exists():
        return False
    return f"{_checksum(file):08x}" != (named[1] if named else noted.read_text())


def _checksum(file: Path) -> int:
    checksum = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _note_of(file: Path) -> Path:
    return file.with_name(f".{file.name}{_SUFFIX}")
