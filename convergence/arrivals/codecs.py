"""Files to frames. A broken line costs that line, a broken file costs that file, and neither stops the rest.

Text formats are read as text: the lander casts to the contract's types, so that a value of the wrong type is a
rejected row with a reason instead of an unreadable file.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

OFFSET = "offset"


@dataclass(frozen=True)
class Messages:
    """Decoded messages with their offset, and those that are none: `offset`, `reason`, `row` (the raw text)."""

    rows: pl.DataFrame
    broken: pl.DataFrame


BROKEN = pl.Schema({OFFSET: pl.Int64(), "reason": pl.String(), "row": pl.String()})


def decode(path: Path) -> Messages:
    """Every message of a file, in order; a file that cannot be read is one broken message."""
    reader = next((read for ending, read in _READERS.items() if path.name.endswith(ending)), None)
    if reader is None:
        return _unreadable(path, f"unknown file type: expected {', '.join(_READERS)}")
    try:
        rows, broken = reader(path)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        return _unreadable(path, f"unreadable file: {type(error).__name__}")
    if OFFSET not in rows.columns:
        rows = rows.with_row_index(OFFSET)
    return Messages(rows.with_columns(pl.col(OFFSET).cast(pl.Int64)), broken)


def _unreadable(path: Path, reason: str) -> Messages:
    broken = pl.DataFrame([(0, reason, path.name)], schema=BROKEN, orient="row")
    return Messages(pl.DataFrame(schema={OFFSET: pl.Int64}), broken)


def _no_broken() -> pl.DataFrame:
    return pl.DataFrame(schema=BROKEN)


def _read_parquet(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.read_parquet(path), _no_broken()


def _read_csv(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return pl.read_csv(path, infer_schema=False, truncate_ragged_lines=False), _no_broken()


def _read_jsonl(path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows, broken = [], []
    for offset, line in enumerate(line for line in path.read_bytes().splitlines() if line.strip()):
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise TypeError  # noqa: TRY301
            rows.append({OFFSET: offset} | {k: _text(v) for k, v in message.items()})
        except (ValueError, TypeError):
            broken.append((offset, "not a JSON object", line[:4096].decode(errors="replace")))
    frame = pl.DataFrame(rows, infer_schema_length=None) if rows else pl.DataFrame(schema={OFFSET: pl.Int64})
    return frame, pl.DataFrame(broken, schema=BROKEN, orient="row")


def _text(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)


_READERS: dict[str, Callable[[Path], tuple[pl.DataFrame, pl.DataFrame]]] = {
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".csv.gz": _read_csv,
    ".jsonl": _read_jsonl,
}
