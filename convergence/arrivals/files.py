"""Files to messages. A broken line costs that line, a broken file costs that file, and neither stops the rest.

CSV is read as text: the lander casts to the contract's types, so that a value of the wrong type is a rejected row
with a reason instead of an unreadable file.
"""

import csv
import gzip
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl

from convergence.arrivals.codecs import BROKEN, OFFSET, Messages, decode_json, within_calendar

_Columns = Mapping[str, pl.DataType]
_DATED = (pl.Date(), *(pl.Datetime(unit, zone) for unit in ("ms", "us") for zone in (None, "UTC")))


def decode(path: Path, columns: _Columns) -> Messages:
    """Every message of a file, in order; a file that cannot be read is one broken message.

    `columns` are the fields wanted of JSON lines, as `decode_json` takes them; other formats give all that they have.
    """
    reader = next((read for ending, read in _READERS.items() if path.name.lower().endswith(ending)), None)
    if reader is None:
        return _unreadable(path, f"unknown file type: expected {', '.join(_READERS)}")
    try:
        return reader(path, columns)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, ValueError, csv.Error) as error:
        return _unreadable(path, f"unreadable file: {type(error).__name__}")


def _unreadable(path: Path, reason: str) -> Messages:
    return Messages(
        _numbered(pl.DataFrame(), range(0)), _broken([(0, reason, os.fsencode(path.name).decode(errors="replace"))])
    )


def _read_parquet(path: Path, _: _Columns) -> Messages:
    frame = pl.read_parquet(path.read_bytes())
    frame = frame.with_columns(within_calendar(pl.col(c), d) for c, d in frame.schema.items() if d in _DATED)
    odd = [c for c in frame if not (c.dtype.is_numeric() or c.dtype in (pl.String, pl.Boolean, pl.Date, pl.Datetime))]
    as_text = [pl.Series(c.name, [None if v is None else str(v) for v in c.to_list()], pl.String) for c in odd]
    return Messages(_numbered(frame.with_columns(as_text), range(frame.height)), _broken([]))


def _read_csv(path: Path, _: _Columns) -> Messages:
    try:
        frame = pl.read_csv(path.read_bytes(), infer_schema=False)  # Polars takes no name that is not UTF-8
    except pl.exceptions.NoDataError:
        return Messages(_numbered(pl.DataFrame(), range(0)), _broken([]))
    except pl.exceptions.ComputeError:
        return _read_csv_by_line(path, _)  # slow, but it tells the broken lines from the others
    return Messages(_numbered(frame, range(frame.height)), _broken([]))


def _read_csv_by_line(path: Path, _: _Columns) -> Messages:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header, *lines = csv.reader(file, strict=True)
    rows, offsets, broken = [], [], []
    for offset, line in enumerate(lines):
        if len(line) <= len(header) and is_text("".join(line)):
            rows.append([value or None for value in line] + [None] * (len(header) - len(line)))
            offsets.append(offset)
        else:
            broken.append((offset, "not a line of this CSV", ",".join(line).encode(errors="replace").decode()))
    frame = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
    return Messages(_numbered(frame, offsets), _broken(broken))


def _read_jsonl(path: Path, columns: _Columns) -> Messages:
    lines = [line for line in path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()]
    return decode_json(lines, range(len(lines)), columns)


def _numbered(frame: pl.DataFrame, offsets: Sequence[int]) -> pl.DataFrame:
    """With the position of each message; a field of that name in the message gives way."""
    return frame.drop(OFFSET, strict=False).with_columns(pl.Series(OFFSET, offsets, pl.Int64))


def is_text(value: str) -> bool:
    """Whether a string can be stored: a broken encoding can hold halves of characters."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _broken(messages: list[tuple[int, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(messages, schema=BROKEN, orient="row")


_READERS: dict[str, Callable[[Path, _Columns], Messages]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".jsonl": _read_jsonl,
}
