"""A version of rows that depends on their values alone: not on row order, file layout, library or machine.

Rows are hashed with 64-bit integer arithmetic and the hashes are summed, so that the hash of an append is an addition.
It tells changed data from unchanged data; it is no defence against an adversary who chooses the rows.
"""

from collections.abc import Sequence
from functools import cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import polars as pl

from convergence.errors import LakeError

ALGORITHM = "sum128"  # change the name when the arithmetic changes: every partition then counts as new
EMPTY = f"{ALGORITHM}:0:{0:032x}"

_SAMPLE = 1_000  # texts that tell whether a column repeats itself
_CHUNK = 8_192  # rows: three 64 kB buffers stay in the second-level cache
_LANE = 1 << 64
_FOLD = np.uint64(32)
_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)  # Mulvey's rrmxmx constant
_LANES = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))  # splitmix64 (Steele et al., OOPSLA 2014)

Words = npt.NDArray[np.uint64]
Column = tuple[np.uint64, np.uint64, Words, npt.NDArray[np.bool_] | None]  # seed, factor, a word and a null per row


def content_hash(frame: pl.DataFrame) -> str:
    """`algorithm:rows:32 hex digits` of a frame. A null counts nothing, so a new all-null column changes nothing."""
    columns = _columns(frame)
    sums = [0, 0]
    for start in range(0, frame.height, _CHUNK):
        total = _combined(columns, slice(start, min(start + _CHUNK, frame.height)))
        for lane, factor in enumerate(_LANES):
            mixed = total * factor
            mixed ^= mixed >> _FOLD
            mixed *= _MULTIPLIER
            sums[lane] += int(mixed.sum(dtype=np.uint64))
    return _render(frame.height, sums[0], sums[1])


def add_hashes(left: str, right: str) -> str:
    """The hash of both row sets together: appending needs no second look at the rows that are there."""
    (n, a, b), (m, c, d) = _parse(left), _parse(right)
    return _render(n + m, a + c, b + d)


def _render(rows: int, high: int, low: int) -> str:
    return f"{ALGORITHM}:{rows}:{high % _LANE:016x}{low % _LANE:016x}"


def _parse(text: str) -> tuple[int, int, int]:
    algorithm, rows, digits = text.split(":")
    if algorithm != ALGORITHM:
        raise LakeError(f"content hash {algorithm!r} cannot be added to {ALGORITHM!r}: rewrite the partition once")
    return int(rows), int(digits[:16], 16), int(digits[16:], 16)


def _columns(frame: pl.DataFrame) -> list[Column]:
    return [(*_seeds(name), _words(frame[name]), _nulls(frame[name])) for name in frame.columns]


def _combined(columns: Sequence[Column], rows: slice) -> Words:
    """One word per row, from those of its columns."""
    total = np.full(rows.stop - rows.start, _MULTIPLIER, np.uint64)
    for seed, factor, words, nulls in columns:
        mixed = words[rows] ^ seed
        mixed *= _MULTIPLIER
        mixed ^= mixed >> _FOLD
        mixed *= factor
        if nulls is not None:
            mixed[nulls[rows]] = 0
        total += mixed
    total ^= total >> _FOLD
    return total


@cache
def _seeds(column: str) -> tuple[np.uint64, np.uint64]:
    digest = blake2b(column.encode(), digest_size=16).digest()
    seed, factor = np.frombuffer(digest, "<u8")
    return seed, factor | np.uint64(1)


def _nulls(column: pl.Series) -> npt.NDArray[np.bool_] | None:
    return column.is_null().to_numpy() if column.null_count() else None


def _words(column: pl.Series) -> Words:
    """One 64-bit word per value; equal values of different widths give equal words."""
    kind = column.dtype
    if isinstance(kind, pl.Struct):
        return _combined(_columns(column.struct.unnest()), slice(0, len(column)))
    if isinstance(kind, pl.List | pl.Array):
        return _list_words(column.arr.to_list() if isinstance(kind, pl.Array) else column)
    if isinstance(kind, pl.String | pl.Binary | pl.Categorical | pl.Enum | pl.Decimal | pl.Null):
        return _text_words(column)
    if kind.is_float():
        values = column.cast(pl.Float64).fill_null(0.0).to_numpy() + 0.0  # -0.0 becomes 0.0
        values[np.isnan(values)] = np.nan  # one NaN of the many
        return values.view(np.uint64)
    if isinstance(kind, pl.Datetime):
        column = column.dt.cast_time_unit("us")
    if kind.is_temporal():
        column = column.to_physical()
    if column.dtype == pl.UInt64:
        return column.fill_null(0).to_numpy()
    return column.cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64)


def _list_words(column: pl.Series) -> Words:
    """Every item is mixed with its position, and the list with its length."""
    sizes = column.list.len().fill_null(0).to_numpy().astype(np.int64)
    items = column.filter(sizes > 0).explode()
    starts = np.cumsum(sizes) - sizes
    position = np.arange(len(items)) - np.repeat(starts, sizes)
    (seed, factor), (second, _) = _seeds("item"), _seeds("position")
    places = (position.astype(np.uint64) + np.uint64(1)) * _MULTIPLIER ^ second
    places ^= places >> _FOLD
    mixed = _combined([(seed, factor, _words(items), _nulls(items))], slice(0, len(items))) * (places | np.uint64(1))
    mixed ^= mixed >> _FOLD
    sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)))
    return sums[starts + sizes] - sums[starts] + sizes.astype(np.uint64) * _LANES[0]


def _text_words(column: pl.Series) -> Words:
    texts = column if column.dtype == pl.Binary else column.cast(pl.String)
    if texts.head(_SAMPLE).n_unique() > _SAMPLE // 2:  # few repeat: looking them up costs more than it saves
        return _digests(texts.fill_null(b"" if texts.dtype == pl.Binary else ""))
    distinct = texts.drop_nulls().unique()
    lookup = pl.DataFrame({"text": distinct, "word": _digests(distinct)})
    found = texts.to_frame("text").join(lookup, on="text", how="left", maintain_order="left")
    return found["word"].fill_null(0).to_numpy()


def _digests(texts: pl.Series) -> Words:
    values = texts if texts.dtype == pl.Binary else texts.cast(pl.Binary)
    return np.frombuffer(b"".join([blake2b(v, digest_size=8).digest() for v in values]), "<u8")
