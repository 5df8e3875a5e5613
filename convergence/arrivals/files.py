"""Files to messages. A broken line costs that line, a broken file costs that file, and neither stops the rest.

CSV is read as text: the lander casts to the contract's types, so that a value of the wrong type is a rejected row
with a reason instead of an unreadable file. A file of which nothing can be read is one broken message that says why.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from types import MappingProxyType
from typing import cast

import polars as pl

from convergence.arrivals.bounds import (
    MOST_BYTES,
    MOST_LINE,
    Unreadable,
    content_of,
    refuse_bomb,
    refuse_lines,
    refuse_memory,
    refuse_size,
    unzipped,
)
from convergence.arrivals.codecs import BROKEN, OFFSET, Messages, decode_json
from convergence.arrivals.csv_files import QUOTATION, BrokenLine, header_of, read_csv
from convergence.arrivals.evidence import text_of
from convergence.arrivals.parquet_footer import cost_of
from convergence.arrivals.repeated_keys import repeated_keys

_BOM = b"\xef\xbb\xbf"
_UTF_16 = "written in UTF-16: save it as UTF-8"
_NO_TEXT = {
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
    b"\x1f\x8b": "compressed with gzip: a CSV like this is called .csv.gz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: use gzip, and call it .csv.gz",
    b"PK\x03\x04": "a workbook or zip archive: save its table as CSV in UTF-8",
    b"PAR1": "Parquet: call it .parquet",
}
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class _Wanted:
    """The fields of a topic: `columns` under a message's names, with types, and which of them are renamed to what."""

    columns: Mapping[str, pl.DataType]
    renames: Mapping[str, str]

    def check(self, names: Sequence[str]) -> None:
        """Raise Unreadable if none of these is a field, or two are the same one."""
        counts = Counter(self.renames.get(name, name) for name in names)
        fields = {self.renames.get(name, name): name for name in self.columns}
        if fields.keys().isdisjoint(counts):
            raise Unreadable(_unknown(names, sorted({*fields, *self.columns})))
        if twice := [name for field, name in fields.items() if counts[field] > 1]:
            raise Unreadable(f"two columns are the field {twice[0]}: leave one of them")


def decode(
    path: Path, columns: Mapping[str, pl.DataType], renames: Mapping[str, str] = MappingProxyType({})
) -> Messages:
    """Every message of a file, in order; a file that cannot be read, or yields nothing, is one broken message.

    `columns` are the fields wanted of JSON lines, as `decode_json` takes them; other formats give all that they have,
    but must have one of these at least, or of those they are renamed to. Raises OSError if the disk does not give it.
    """
    try:
        reader = next((read for ending, read in _READERS.items() if path.name.lower().endswith(ending)), None)
        if reader is None:
            raise Unreadable(f"unknown file type: expected {', '.join(_READERS)}")
        messages = reader(path, _Wanted(columns, renames))
        if not messages.rows.height + messages.broken.height:
            raise Unreadable("no row in it")
    except Unreadable as error:
        return Messages(_numbered(pl.DataFrame(), []), _broken([(0, str(error), os.fsencode(path.name))]))
    return messages


def _read_parquet(path: Path, wanted: _Wanted) -> Messages:
    content = content_of(path)
    cost = cost_of(content)
    refuse_size(cost.rows, len(cost.names))
    refuse_bomb(cost.pages, len(content))
    refuse_memory(cost.values)
    if cost.repeated > MOST_BYTES:
        raise Unreadable("its encoding DELTA_BYTE_ARRAY does not tell how long its values are: write it with another")
    wanted.check(cost.names)
    try:
        frame = pl.read_parquet(content)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        raise Unreadable("damaged Parquet, or of a kind that cannot be read: write it again") from None
    refuse_memory(int(frame.estimated_size()))  # rows may share a text, which counts for each of them
    return Messages(_numbered(frame, range(frame.height)), _broken([]))


def _read_csv(path: Path, wanted: _Wanted) -> Messages:
    content = _text(unzipped(path) if path.name.lower().endswith(".gz") else content_of(path))
    names, end = header_of(content)
    wanted.check(names)
    frame, offsets, broken = read_csv(content, _apart(names), end)
    return Messages(_numbered(frame, offsets), _broken(broken))


def _read_jsonl(path: Path, wanted: _Wanted) -> Messages:
    content = _text(content_of(path))
    refuse_lines(content, len(wanted.columns))
    every = content.splitlines()
    lines = [line for line in every if line.strip()]
    read, long = lines, {}
    if max(map(len, lines), default=0) > MOST_LINE:
        long = {n: f"{len(line)} bytes, at most {MOST_LINE}" for n, line in enumerate(lines) if len(line) > MOST_LINE}
        read = [b"" if n in long else line for n, line in enumerate(lines)]
    messages = decode_json(read, range(len(lines)), wanted.columns)
    rows, raw = messages.rows, cast("Sequence[bytes]", messages.raw)
    keys = repeated_keys(content, raw, rows, wanted.columns)
    wrong = dict(messages.broken.select(OFFSET, "reason").iter_rows())
    wrong |= {rows[OFFSET][place]: f"the key {key} stands in it twice" for place, key in keys.items()} | long
    if not wrong:
        return messages
    kept = ~rows[OFFSET].is_in(list(wrong))
    numbers = [n for n, line in enumerate(every, start=1) if line.strip()]
    broken = [(at, f"line {numbers[at]}: {wrong[at]}", lines[at][:MOST_LINE]) for at in sorted(wrong)]
    return Messages(rows.filter(kept), _broken(broken), list(compress(raw, kept)))


def _text(content: bytes) -> bytes:
    """Content that may be lines of UTF-8, without the mark of byte order. Raises Unreadable if it is no such thing."""
    if not content:
        raise Unreadable("an empty file")
    if known := next((told for begin, told in _NO_TEXT.items() if content.startswith(begin)), None):
        raise Unreadable(known)
    halves = content[:512:2], content[1:512:2]
    if any(2 * half.count(0) > len(half) for half in halves):
        raise Unreadable(_UTF_16)
    return content.removeprefix(_BOM)


def _unknown(names: Sequence[str], fields: Sequence[str]) -> str:
    line = ",".join(names)
    for separator, name in _SEPARATORS.items():
        if not {one.strip("\"' ") for one in line.split(separator)}.isdisjoint(fields):
            return f"its columns are separated by {name}: write commas"
    if '"' in line:
        return f"its first line has {QUOTATION}"
    return f"none of its columns is a field of this topic ({', '.join(fields)}): name them in its first line"


def _apart(names: Sequence[str]) -> list[str]:
    """Names that differ; those that do not are of columns that no field is in."""
    found: dict[str, None] = {}
    taken = set(names)
    for name in names:
        number, new = 0, name
        while new in found or (number and new in taken):
            number += 1
            new = f"{name}_{number}"
        found[new] = None
    return list(found)


def _numbered(frame: pl.DataFrame, offsets: Sequence[int] | pl.Series) -> pl.DataFrame:
    """With the position of each message; a field of that name in the message gives way."""
    return frame.drop(OFFSET, strict=False).with_columns(pl.Series(OFFSET, offsets, pl.Int64))


def _broken(lines: Sequence[BrokenLine]) -> pl.DataFrame:
    return pl.DataFrame([(at, why, text_of(raw)) for at, why, raw in lines], schema=BROKEN, orient="row")


_READERS: Mapping[str, Callable[[Path, _Wanted], Messages]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".jsonl": _read_jsonl,
}
