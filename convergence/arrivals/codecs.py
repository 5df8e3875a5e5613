"""Files to frames. A broken line costs that line, a broken file costs that file, and neither stops the rest.

Text formats are read as text: the lander casts to the contract's types, so that a value of the wrong type is a
rejected row with a reason instead of an unreadable file.
"""

import csv
import gzip
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

OFFSET = "offset"

_DATED = (pl.Date(), *(pl.Datetime(unit, zone) for unit in ("ms", "us") for zone in (None, "UTC")))


@dataclass(frozen=True)
class Messages:
    """Decoded messages with their offset, and those that are none: `offset`, `reason`, `row` (the raw text)."""

    rows: pl.DataFrame
    broken: pl.DataFrame


BROKEN = pl.Schema({OFFSET: pl.Int64(), "reason": pl.String(), "row": pl.String()})


def decode(path: Path) -> Messages:
    """Every message of a file, in order; a file that cannot be read is one broken message."""
    reader = next((read for ending, read in _READERS.items() if path.name.lower().endswith(ending)), None)
    if reader is None:
        return _unreadable(path, f"unknown file type: expected {', '.join(_READERS)}")
    try:
        rows, broken = reader(path)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, ValueError, csv.Error) as error:
        return _unreadable(path, f"unreadable file: {type(error).__name__}")
    return Messages(rows, broken)


def within_calendar(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """Null where a time lies outside the years 1 to 9999: neither Python nor JSON has a word for it."""
    per_second = {"ms": 1_000, "us": 1_000_000}[kind.time_unit] if isinstance(kind, pl.Datetime) else 1 / 86_400
    first, end = (int(second * per_second) for second in (-62_135_596_800, 253_402_300_800))
    return pl.when(column.to_physical().is_between(first, end, closed="left")).then(column)


def _unreadable(path: Path, reason: str) -> Messages:
    return Messages(
        _numbered(pl.DataFrame(), range(0)), _broken([(0, reason, os.fsencode(path.name).decode(errors="replace"))])
    )


def _read_parquet(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    frame = pl.read_parquet(path.read_bytes())
    frame = frame.with_columns(within_calendar(pl.col(c), d) for c, d in frame.schema.items() if d in _DATED)
    odd = [c for c in frame if not (c.dtype.is_numeric() or c.dtype in (pl.String, pl.Boolean, pl.Date, pl.Datetime))]
    as_text = [pl.Series(c.name, [None if v is None else str(v) for v in c.to_list()], pl.String) for c in odd]
    return _numbered(frame.with_columns(as_text), range(frame.height)), _broken([])


def _read_csv(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    try:
        frame = pl.read_csv(path.read_bytes(), infer_schema=False)  # Polars takes no name that is not UTF-8
    except pl.exceptions.NoDataError:
        return _numbered(pl.DataFrame(), range(0)), _broken([])
    except pl.exceptions.ComputeError:
        return _read_csv_by_line(path)  # slow, but it tells the broken lines from the others
    return _numbered(frame, range(frame.height)), _broken([])


def _read_csv_by_line(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        header, *lines = csv.reader(file, strict=True)
    rows, offsets, broken = [], [], []
    for offset, line in enumerate(lines):
        if len(line) <= len(header) and _is_text("".join(line)):
            rows.append([value or None for value in line] + [None] * (len(header) - len(line)))
            offsets.append(offset)
        else:
            broken.append((offset, "not a line of this CSV", ",".join(line)[:4096].encode(errors="replace").decode()))
    frame = pl.DataFrame(rows, schema=dict.fromkeys(header, pl.String), orient="row")
    return _numbered(frame, offsets), _broken(broken)


def _read_jsonl(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows, offsets, broken = [], [], []
    for offset, line in enumerate(line for line in path.read_bytes().splitlines() if line.strip()):
        try:
            message = json.loads(line)
            if not isinstance(message, dict) or not _is_text("".join(message)):
                raise TypeError
            rows.append({k: _text(v) for k, v in message.items()})
            offsets.append(offset)
        except (ValueError, TypeError, RecursionError):
            broken.append((offset, "not a JSON object", line[:4096].decode(errors="replace")))
    return _numbered(pl.DataFrame(rows, infer_schema_length=None), offsets), _broken(broken)


def _numbered(frame: pl.DataFrame, offsets: Sequence[int]) -> pl.DataFrame:
    """With the position of each message; a field of that name in the message gives way."""
    return frame.drop(OFFSET, strict=False).with_columns(pl.Series(OFFSET, offsets, pl.Int64))


def _broken(messages: list[tuple[int, str, str]]) -> pl.DataFrame:
    return pl.DataFrame(messages, schema=BROKEN, orient="row")


def _text(value: object) -> str | None:
    if value is None or (isinstance(value, str) and _is_text(value)):
        return value
    return json.dumps(value)


def _is_text(value: str) -> bool:
    """Whether a string can be stored: JSON and broken encodings can hold halves of characters."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


_READERS: dict[str, Callable[[Path], tuple[pl.DataFrame, pl.DataFrame]]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".jsonl": _read_jsonl,
}
