"""Messages to frames. One that cannot be read costs itself alone, and no other message of its batch waits for it.

What a message becomes does not depend on its neighbours: a batch is read at once into the contract's types, or as text
where a value is of another type (the lander casts it), and only what cannot be read at all is searched for.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import compress
from math import isfinite
from typing import Any

import polars as pl

from convergence.arrivals.evidence import KEY, refusals, text_of

OFFSET = "offset"
BROKEN = pl.Schema({OFFSET: pl.Int64(), "reason": pl.String(), "row": pl.String()})

_DOUBLE_DIGITS = 15  # of a number, that a float always keeps
_TEXTS = (pl.String, pl.Binary, pl.Categorical, pl.Enum)
_HALF = re.compile("[\ud800-\udfff]")  # of a character
_CHUNK = 16_384  # messages read at once: a message that cannot be read is searched for among these


@dataclass(frozen=True)
class Messages:
    """Decoded messages with their offset, and those that are none: `offset`, `reason`, `row` (the original text).

    `raw` is the original of each row; None where the rows are the original themselves, as in CSV and Parquet.
    """

    rows: pl.DataFrame
    broken: pl.DataFrame
    raw: Sequence[bytes] | None = None


Codec = Callable[[Sequence[bytes | None], Sequence[int] | pl.Series, Mapping[str, pl.DataType]], Messages]


def decode_json(
    values: Sequence[bytes | None], offsets: Sequence[int] | pl.Series, columns: Mapping[str, pl.DataType]
) -> Messages:
    """The fields `columns` of messages that are JSON objects; other fields are left out, a missing one is null.

    A column is of its type in `columns`, or text if one of its values is written as something else; times are text.
    """
    at = pl.Series(OFFSET, offsets, pl.Int64)
    typed = pl.Schema({name: _READ_AS.get(kind.base_type(), pl.String()) for name, kind in columns.items()})
    with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
        chunks = threads.map(lambda i: _read(values[i : i + _CHUNK], typed), range(0, len(values), _CHUNK))
        found = list(chunks)
    frames = [frame for part, _ in found for frame in part]
    if len({tuple(frame.dtypes) for frame in frames}) > 1:
        frames = [frame.cast(pl.String) for frame in frames]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema=typed)
    readable = [flag for _, flags in found for flag in flags]
    flags = pl.Series(readable, dtype=pl.Boolean)
    raw = list(compress(values, readable))
    rows = rows.with_columns(at.filter(flags), *_digits(rows, raw, columns))
    broken = _broken(values, readable, at.filter(~flags))
    if (nested := _nested(rows, raw, columns)).height:
        apart = ~rows[OFFSET].is_in(nested[OFFSET].implode())
        rows, raw, broken = rows.filter(apart), list(compress(raw, apart)), pl.concat([broken, nested]).sort(OFFSET)
    return Messages(rows, broken, raw)  # pyright: ignore[reportArgumentType]


CODECS: Mapping[str, Codec] = {"json": decode_json}


_READ_AS: dict[type[pl.DataType], pl.DataType] = {kind: kind() for kind in (pl.Int32, pl.Int64, pl.Float64, pl.Boolean)}


def _read(values: Sequence[bytes | None], typed: pl.Schema) -> tuple[list[pl.DataFrame], list[bool]]:
    """Rows of the messages that can be read, and which these are."""
    if (frame := _frame(values, typed)) is not None:
        return [frame], [True] * len(values)
    sound = [_is_object(value) for value in values]
    if len(values) == 1 or not any(sound):
        return [], [False] * len(values)
    # Where Python's reader finds nothing wrong, Polars does: then it is searched for by halves
    cuts = [slice(None)] if not all(sound) else [slice(None, len(values) // 2), slice(len(values) // 2, None)]
    frames: list[pl.DataFrame] = []
    readable: list[bool] = []
    for cut in cuts:
        part, flags = _read(list(compress(values[cut], sound[cut])), typed)
        told = iter(flags)
        frames += part
        readable += [ok and next(told) for ok in sound[cut]]
    return frames, readable


def _frame(values: Sequence[bytes | None], typed: pl.Schema) -> pl.DataFrame | None:
    """A row for each message; None if any cannot be read."""
    try:
        joined = b"\n".join(values)  # pyright: ignore[reportArgumentType, reportCallIssue] None raises, as it should
    except TypeError:
        return None
    if joined.count(b"\n") >= len(values):  # white space inside a message: between its lines it means nothing
        joined = b"\n".join(value.replace(b"\n", b"\r") for value in values if value is not None)
    for schema in (typed, pl.Schema(dict.fromkeys(typed, pl.String()))):
        try:
            frame = pl.read_ndjson(joined, schema=schema)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
            continue
        if schema is typed and any(_too_large(frame[name]) for name, kind in typed.items() if kind.is_float()):
            continue  # whether such an integer is a float can be told from its text only
        if frame.height == len(values):  # else one of them is blank
            return frame
    return None


def _too_large(floats: pl.Series) -> bool:
    """Whether one of them may have been an integer with more digits than a float has."""
    return bool((floats.abs() >= 2**53).any())


def _digits(rows: pl.DataFrame, raw: Sequence[bytes | None], columns: Mapping[str, pl.DataType]) -> list[pl.Series]:
    """Columns of exact numbers that were read as text, in their own digits: Polars reads a point as a float."""
    found = []
    for name, kind in columns.items():
        if rows.schema[name] == pl.String and (kind.is_integer() or kind.is_decimal()):
            least = 0 if kind.is_decimal() else _DOUBLE_DIGITS
            places = (rows[name].str.len_bytes() > least).fill_null(False).arg_true()
            said = [_field(raw[i], name) for i in places]
            told = [v if isinstance(v, str) else t for v, t in zip(said, rows[name].gather(places), strict=True)]
            found.append(rows[name].scatter(places, pl.Series(told, dtype=pl.String)))
    return found


def _nested(rows: pl.DataFrame, raw: Sequence[bytes | None], columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Messages with a list or an object where a text is wanted: it is none, though it can be written as one.

    So is half a character, which Polars reads as NUL.
    """
    found: dict[int, str] = {}
    for name, kind in columns.items():
        if kind.base_type() in _TEXTS:
            odd = rows[name].str.contains(r"^[\[{]") | rows[name].str.contains("\0", literal=True)
            for i in odd.fill_null(False).arg_true():
                if not isinstance(said := _field(raw[i], name), str) or _HALF.search(said):
                    found.setdefault(i, *refusals(rows[name].gather([i]), kind))
    texts = [text_of(raw[i] or b"") for i in found]
    return pl.DataFrame(
        {OFFSET: [rows[OFFSET][i] for i in found], "reason": list(found.values()), "row": texts}, BROKEN
    )


def _field(value: bytes | None, name: str) -> Any:
    """A field of a message as Python reads it, a number as it is written; None where Python cannot read it."""
    try:
        return json.loads(value or b"", parse_float=str, parse_int=str).get(name)
    except (ValueError, RecursionError):
        return None


def _is_object(value: bytes | None) -> bool:
    try:
        read = json.loads(value or b"", parse_int=_finite, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return False
    return isinstance(read, dict)


def _finite(number: str) -> float:
    """Raise ValueError for what is a number to Python's reader alone, so that no message has to be searched for it."""
    if not isfinite(found := float(number)):
        raise ValueError
    return found


def _broken(values: Sequence[bytes | None], kept: Sequence[bool], offsets: pl.Series) -> pl.DataFrame:
    left = [value for value, is_kept in zip(values, kept, strict=True) if not is_kept]
    keys = [value is None or value.startswith(KEY.encode()) for value in left]
    reasons = ["no value (tombstone)" if alone else "not a JSON object" for alone in keys]
    texts = [None if value is None else text_of(value) for value in left]
    return pl.DataFrame({OFFSET: offsets, "reason": reasons, "row": texts}, schema=BROKEN)
