"""CSV to rows of text. What a line becomes does not depend on its neighbours, and a broken one costs itself alone.

A text is cut into chunks. Those that hold whole records and nothing odd are read at once; through the others goes a
walk, record by record. Both go by RFC 4180, and Polars tells the values of both. Two things beyond it are read too, in
one way: a carriage return alone ends a line, and quotation marks in a field that begins with none stand for themselves.
"""

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from convergence.arrivals.bounds import MOST_COLUMNS, Unreadable, lines_in, refuse_lines

CHUNK = 2**20  # bytes read at once
BrokenLine = tuple[int, str, bytes]  # its offset, on which line what is wrong, and what it is

_QUOTED = rb'"[^"]*+(?:""[^"]*+)*+"'
_QUOTED_FIELD = re.compile(_QUOTED)
_FIELD = rb"(?:" + _QUOTED + rb'(?=[,\r\n]|\Z)|[^",\r\n]*+(?!"))'
_END = rb"(?:\r\n|\n|\r|\Z)"
_RECORD = re.compile(rb"(?:" + _FIELD + rb",)*+" + _FIELD + _END)
_LINE = re.compile(rb"[^\r\n]*+" + _END)
_ODD_FIELD = re.compile(rb'"[^"]*+(?:""[^"]*+)*+"(?=,|\Z)|(?!")[^,]*+')  # of a line without its end
QUOTATION = "quotation marks that do not fit: a field that holds one stands in two, and each in it is written twice"


def read_csv(content: bytes, names: Sequence[str], start: int) -> tuple[pl.DataFrame, pl.Series, list[BrokenLine]]:
    """The records after a header that ends at `start`: rows of text, their offsets, and what is no row.

    A field without anything is null, one of two quotation marks an empty text. A line that ends too early lacks its
    last fields; a blank one is no record. Raises Unreadable if there are too many.
    """
    refuse_lines(content, len(names))
    table = _Table(len(names))
    chunks = list(_chunks(content, start))
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
        frames = list(threads.map(lambda chunk: table.at_once(content[slice(*chunk)]), chunks))
    walk = _Walk(content, table, start)
    for (begin, end), frame in zip(chunks, frames, strict=True):
        if frame is not None and begin == walk.at:
            walk.take(frame, pl.int_range(walk.offset, walk.offset + frame.height, eager=True), end)
        else:
            walk.through(end)
    rows = pl.concat([table.empty, *walk.frames])
    rows.columns = list(names)
    return rows, pl.concat([pl.Series([], dtype=pl.Int64), *walk.offsets]), walk.broken


def header_of(content: bytes) -> tuple[list[str], int]:
    """The names in a text's first line that is not blank, and where that line ends.

    One whose quotation marks do not fit is a single name. Raises Unreadable if there is none.
    """
    at = 0
    while (line := _LINE.match(content, at)) and line[0] and not line[0].strip():
        at = line.end()
    if at == len(content):
        raise Unreadable("nothing but blank lines")
    found = _RECORD.match(content, at) or _LINE.match(content, at)
    assert found  # anything is a line
    line = _without_end(found[0])
    names = [_unquoted(name) for name in _fields(line, MOST_COLUMNS) or [line]]
    return [name.decode(errors="backslashreplace") for name in names], found.end()


@dataclass(frozen=True)
class _Table:
    """Reads records of so many fields."""

    width: int

    @cached_property
    def head(self) -> bytes:
        """A header of its own: how a text begins decides whether Polars takes it for something compressed."""
        return b",".join(b"%d" % n for n in range(self.width)) + b"\n"

    @cached_property
    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema={str(n): pl.String() for n in range(self.width)})

    @cached_property
    def whole(self) -> str:
        """What a text of whole records looks like."""
        one = r'(?:"(?:[^"]|"")*"|[^",\r\n]*)'
        return rf"\A(?:(?:{one},){{{self.width - 1}}}{one}(?:\r?\n|\z))*\z"

    def at_once(self, chunk: bytes) -> pl.DataFrame | None:
        """A row for each line or record; None where one is not whole, or blank, so that Polars might take it amiss."""
        try:
            if b'"' in chunk:
                text = pl.Series([chunk], dtype=pl.Binary).cast(pl.String)
                return self._without_blanks(self.read(chunk)) if text.str.contains(self.whole).item() else None
            if b"\r" in chunk and chunk.count(b"\r") > chunk.count(b"\r\n"):
                return None
            frame = self.read(chunk)  # too many fields raise, too few leave the last one empty
            lacking = frame.to_series(-1).null_count() and chunk.count(b",") < frame.height * (self.width - 1)
            return None if lacking else self._without_blanks(frame)
        except pl.exceptions.PolarsError:  # no UTF-8; a line too long; more columns than a pattern may have
            return None

    def _without_blanks(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """The frame; None if a row of one column may be a blank line."""
        return frame if self.width > 1 or frame.to_series().str.contains(r"\S").fill_null(False).all() else None

    def read(self, records: bytes) -> pl.DataFrame:
        return pl.read_csv(self.head + records, infer_schema=False)


@dataclass
class _Walk:
    """How far a text has been read, and what was found up to there."""

    content: bytes
    table: _Table
    at: int
    offset: int = 0
    frames: list[pl.DataFrame] = field(default_factory=list)
    offsets: list[pl.Series] = field(default_factory=list)
    broken: list[BrokenLine] = field(default_factory=list)
    _counted: tuple[int, int] = (0, 1)  # a place, and the number of its line

    def take(self, frame: pl.DataFrame, offsets: pl.Series, end: int) -> None:
        """Rows that were read up to `end`."""
        self.frames.append(frame)
        self.offsets.append(offsets)
        self.offset += frame.height
        self.at = end

    def through(self, end: int) -> None:
        """Read record by record, to `end` or the end of the record that holds it."""
        rows: list[bytes] = []
        offsets: list[int] = []
        offset = self.offset
        while self.at < end:
            plain = _RECORD.match(self.content, self.at)
            found = plain or _LINE.match(self.content, self.at)
            assert found  # anything is a line
            record = _without_end(found[0])
            if record.strip():
                row, wrong = _row(record, self.table.width, is_plain=plain is not None)
                if wrong:
                    self.broken.append((offset, f"line {self._line()}: {wrong}", record))
                else:
                    rows.append(row)
                    offsets.append(offset)
                offset += 1
            self.at = found.end()
        if rows:
            self.take(self.table.read(b"\n".join(rows)), pl.Series(offsets, dtype=pl.Int64), self.at)
        self.offset = offset

    def _line(self) -> int:
        """The number of the line that begins here."""
        before, line = self._counted
        self._counted = self.at, line + lines_in(self.content[before : self.at])
        return self._counted[1]


def _chunks(content: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Where to cut: at ends of lines, outside of quotation marks if these fit and no text in them is very long."""
    while start < len(content):
        end, marks, counted = start + CHUNK, 0, start
        while end := content.find(b"\n", end) + 1:
            marks += content.count(b'"', counted, end)
            if marks % 2 == 0 or end > start + 2 * CHUNK:
                break
            counted = end
        end = end or len(content)
        yield start, end
        start = end


def _row(record: bytes, width: int, *, is_plain: bool) -> tuple[bytes, str]:
    """A record as Polars reads it, with so many fields; or what is wrong with it."""
    if not _is_text(record):
        return record, "not written in UTF-8"
    if is_plain:
        fields = 1 + (_QUOTED_FIELD.sub(b"", record) if b'"' in record else record).count(b",")
    else:
        odd = None if b'\\"' in record else _fields(record, width)  # to some a backslash takes a mark's meaning away
        if odd is None:
            return record, QUOTATION
        fields, record = len(odd), b",".join(map(_in_quotes, odd))
    if fields > width:
        return record, f"more fields than the {width} of the header"
    if fields < width and (b"\n" in record or b"\r" in record):  # more likely than not a mark too many
        return record, f"{fields} fields on several lines, the header has {width}"
    return record + b"," * (width - fields), ""


def _is_text(record: bytes) -> bool:
    try:
        return record.isascii() or bool(record.decode())
    except UnicodeDecodeError:
        return False


def _fields(record: bytes, most: int) -> list[bytes] | None:
    """The fields as they are written, one more than `most` if they are more; None if marks do not fit."""
    fields, at = [], 0
    while at <= len(record) and len(fields) <= most:
        if not (found := _ODD_FIELD.match(record, at)):
            return None
        fields.append(found[0])
        at = found.end() + 1
    return fields


def _in_quotes(written: bytes) -> bytes:
    odd = b'"' in written and not written.startswith(b'"')
    return b'"' + written.replace(b'"', b'""') + b'"' if odd else written


def _unquoted(written: bytes) -> bytes:
    return written[1:-1].replace(b'""', b'"') if written.startswith(b'"') else written


def _without_end(line: bytes) -> bytes:
    """Of a record: what stands in quotation marks ends in one."""
    return line.removesuffix(b"\n").removesuffix(b"\r")
