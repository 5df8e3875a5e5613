"""A data file carries the checksum of its bytes in its name, so whoever reads it can tell that they are the same.

Parquet has a place for checksums of pages, but neither Polars 2.1 nor delta-rs 1.6 writes them. Files that delta-rs
makes when it merges others carry none; the content hashes of the manifests stand for those.
"""

import re
import uuid
import zlib
from pathlib import Path

_NAMED = re.compile(r"\.([0-9a-f]{8})\.parquet$")
_CHUNK = 1 << 20


def name_of(content: bytes | memoryview) -> str:
    """A new name for a data file with this content."""
    return f"{uuid.uuid4()}.{zlib.crc32(content):08x}.parquet"


def is_changed(file: Path) -> bool:
    """Whether a file's bytes are not those that it was named for; False where its name says nothing."""
    named = _NAMED.search(file.name)
    if not named:
        return False
    checksum = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return checksum != int(named[1], 16)
