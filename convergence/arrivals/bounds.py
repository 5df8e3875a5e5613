"""What one dropped file may cost to read. A file beyond these limits is one broken message, told before it is read.

Each limit bounds what reading takes in memory: a few times MOST_BYTES, whatever a stranger has put into the file.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

MOST_BYTES = 2 * 2**30  # of a file's content as it is when it is unpacked
MOST_ROWS = 10_000_000
MOST_COLUMNS = 10_000
MOST_LINE = 16 * 2**20  # bytes of one JSON object
MOST_TIMES = 200  # that content is larger than the file; text packs to a tenth, a bomb to a thousandth
ANY_RATIO = 64 * 2**20  # bytes of content up to which a file may be packed as tightly as it likes
CELL = 16  # bytes that a value takes at least while rows are judged
_PIECE = 2**20


class Unreadable(Exception):
    """A file of which nothing can become a row; the text says why and what to do, and holds nothing of its content."""


def content_of(path: Path) -> bytes:
    """A file's bytes. Raises Unreadable if they are too many."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise Unreadable(f"{size} bytes, at most {MOST_BYTES} are read: cut it into smaller files")
    return path.read_bytes()


def unzipped(path: Path) -> bytes:
    """The content of a gzip file, of one or more members. Raises Unreadable if it is none, is cut, or a bomb."""
    size, pieces, length = path.stat().st_size, [], 0
    try:
        for piece in _inflated(path):
            pieces.append(piece)
            length += len(piece)
            refuse_bomb(length, size)
    except EOFError:
        raise Unreadable("the compressed content ends too early: the file was cut, send it whole") from None
    except zlib.error:
        raise Unreadable("no gzip, or damaged: send it again") from None
    return b"".join(pieces)


def _inflated(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        packed = file.read(_PIECE)
        while packed := packed.lstrip(b"\0") or file.read(_PIECE):  # some writers fill their last block with zeros
            if packed[:1] == b"\0":
                continue
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            while not member.eof:
                if not packed and not (packed := file.read(_PIECE)):
                    raise EOFError
                yield member.decompress(packed, _PIECE)
                packed = member.unconsumed_tail
            packed = member.unused_data


def refuse_bomb(content: int, file: int) -> None:
    """Raise Unreadable if content of so many bytes is too much, or too much for a file of so many."""
    if content > MOST_BYTES:
        raise Unreadable(f"more than {MOST_BYTES} bytes when unpacked: cut it into smaller files")
    if content > max(ANY_RATIO, MOST_TIMES * file):
        raise Unreadable(f"unpacked it is more than {MOST_TIMES} times its {file} bytes: send it uncompressed")


def refuse_size(rows: int, columns: int) -> None:
    """Raise Unreadable if a file of so many rows and columns is too much."""
    if rows > MOST_ROWS:
        raise Unreadable(f"{rows} rows, at most {MOST_ROWS} are read: cut it into smaller files")
    if columns > MOST_COLUMNS:
        raise Unreadable(f"{columns} columns, at most {MOST_COLUMNS} are read: leave some out")
    refuse_memory(rows * columns * CELL)


def refuse_lines(content: bytes, columns: int) -> None:
    """Raise Unreadable if a text of so many columns has too many, or too many lines; one takes two bytes at least."""
    most = len(content) // 2 + 1
    if most > MOST_ROWS or columns > MOST_COLUMNS or most * columns * CELL > MOST_BYTES:
        refuse_size(lines_in(content), columns)


def refuse_memory(size: int) -> None:
    """Raise Unreadable if values of so many bytes are too much."""
    if size > MOST_BYTES:
        raise Unreadable(f"its values take {size} bytes in memory, at most {MOST_BYTES}: cut it into smaller files")


def lines_in(content: bytes) -> int:
    """How many lines end in a text, in LF, CR or CRLF."""
    returns = content.count(b"\r")
    return content.count(b"\n") + (returns - content.count(b"\r\n") if returns else 0)
