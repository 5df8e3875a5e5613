"""Files of text without the lines that name a subject, in whatever encoding and compression they came.

Only whole lines go, so that what stays is as it was.
"""

import bz2
import csv
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

from convergence.erasure.subjects import Subject


class Unsearchable(Exception):
    """A file that nobody can look through; the text says why, without what is in it."""


_Pack = Callable[[bytes], bytes]
_PACKED: dict[bytes, tuple[str, _Pack, _Pack]] = {
    b"\x1f\x8b": ("gzip", gzip.decompress, partial(gzip.compress, mtime=0)),
    b"BZh": ("bzip2", bz2.decompress, bz2.compress),
    b"\xfd7zXZ\0": ("xz", lzma.decompress, lzma.compress),
}
_CLOSED = {b"PK\x03\x04": "a zip archive or a workbook", b"\x28\xb5\x2f\xfd": "zstd", b"PAR1": "Parquet"}
_MARKS = (  # the longer first: that of UTF-16 begins like that of UTF-32
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


@dataclass(frozen=True)
class Without:
    """A file without the subject: its content, how many messages went, whether the subject is still named in it."""

    content: bytes
    removed: int
    left: bool


def csv_without(content: bytes, subject: Subject) -> Without:
    """A CSV without the subject's records. Raises Unsearchable.

    A record with as many fields as the header goes as a whole; of anything else go the lines that name the subject.
    """
    return _rewritten(content, subject, _records_without)


def lines_without(content: bytes, subject: Subject) -> Without:
    """Lines of JSON, or of anything, without those that name the subject. Raises Unsearchable."""
    return _rewritten(content, subject, _lines_without)


def _rewritten(content: bytes, subject: Subject, without: Callable[[str, Subject], tuple[str, int]]) -> Without:
    for magic, (name, unpack, pack) in _PACKED.items():
        if content.startswith(magic):
            try:
                plain = unpack(content)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise Unsearchable(f"{name} that is cut or damaged") from error
            inner = _rewritten(plain, subject, without)
            return replace(inner, content=pack(inner.content) if inner.removed else content)
    if closed := next((what for magic, what in _CLOSED.items() if content.startswith(magic)), None):
        raise Unsearchable(f"what its ending does not say: {closed}")
    mark, encoding = next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", _unmarked(content)))
    errors = "surrogateescape" if encoding == "utf-8" else "strict"
    try:
        text = content.removeprefix(mark).decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise Unsearchable(f"{encoding.upper()} that is cut or damaged") from error
    if not _is_text(text):
        raise Unsearchable("no text in an encoding that can be told")
    kept, removed = without(text, subject)
    written = mark + kept.encode(encoding, errors) if removed else content
    return Without(written, removed, _left(kept, written, subject))


def _left(kept: str, written: bytes, subject: Subject) -> bool:
    """Whether the subject is in what stays, or may be: in a header, or in another encoding than that of the file."""
    if subject.numbered:
        return False
    texts = [kept] if kept.isascii() else [kept, written.decode("latin-1")]
    return any(any(each in text for each in subject.ids) and subject.named_in(text) for text in texts)


def _unmarked(content: bytes) -> str:
    """The encoding of a text that does not say it: where every other byte is zero it is UTF-16."""
    for encoding, zeros in (("utf-16-le", content[1::2]), ("utf-16-be", content[::2])):
        if zeros.count(0) > len(zeros) / 2:
            return encoding
    return "utf-8"


def _is_text(text: str) -> bool:
    """Few of its characters are ones that no text has."""
    return len(re.findall(r"[\0-\x08\x0e-\x1f\x7f]", text)) <= 4 + len(text) / 100


def _lines_without(text: str, subject: Subject) -> tuple[str, int]:
    lines = _LINE.findall(text)
    kept = [line for line in lines if not subject.named_in(line)]
    return "".join(kept), len(lines) - len(kept)


def _records_without(text: str, subject: Subject) -> tuple[str, int]:
    lines: list[str] = _LINE.findall(text)
    header = _fields("".join(lines[:1])) or []
    known = header if not subject.fields.isdisjoint(header) else None
    gone: set[int] = set()
    removed = 0
    for first, end, record in _records(lines):
        if known and not first:
            continue
        if record is not None and len(record) == len(header):
            found = list(range(first, end)) if _named(record, known, subject) else []
            removed += bool(found)
        else:
            found = [n for n in range(first, end) if _named(_fields(lines[n]) or [lines[n]], known, subject)]
            removed += len(found)
        gone.update(found)
    return "".join(line for n, line in enumerate(lines) if n not in gone), removed


def _records(lines: list[str]) -> Iterator[tuple[int, int, list[str] | None]]:
    """Where each record begins and ends; one whose quotation marks do not fit is its first line, as in landing."""
    first = 0
    while first < len(lines):
        begun, reader = first, csv.reader(map(lines.__getitem__, range(first, len(lines))), strict=True)
        try:
            for record in reader:
                yield first, begun + reader.line_num, record
                first = begun + reader.line_num
        except csv.Error:
            yield first, first + 1, None
            first += 1


def _fields(line: str) -> list[str] | None:
    """The fields of a line by itself; None where it has none."""
    try:
        return next(csv.reader([line]), None)
    except csv.Error:
        return None


def _named(record: list[str], header: list[str] | None, subject: Subject) -> bool:
    """A line that is shorter than its header lacks its last fields; of a longer one nobody knows which is which."""
    names = header[: len(record)] if header and len(record) <= len(header) else [None] * len(record)
    return subject.named_among(list(zip(names, record, strict=True)))
