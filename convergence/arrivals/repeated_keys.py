"""JSON objects in which a key stands twice: which of its values counts is up to the reader, so that nobody can tell."""

import json
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import polars as pl

_PIECE = 2**22  # bytes looked at by one thread
_ESCAPED = r"\\u00[2-7]"  # a letter that is written as a number: JSON allows that in a key too


def repeated_keys(content: bytes, raw: Sequence[bytes], rows: pl.DataFrame, keys: Collection[str]) -> dict[int, str]:
    """Places of the objects that have one of the keys more than once, with that key.

    `raw` are the objects as they were written, in UTF-8, one to a line of `content`, which may have other lines; `rows`
    is what was read of them, a column for each key.
    """
    if _written(content, keys) == sum(rows.height - rows[key].null_count() for key in keys):
        return {}
    found = {place: _repeated(raw[place], keys) for place in _suspects(raw, rows, keys)}
    return {place: key for place, key in found.items() if key is not None}


def _written(content: bytes, keys: Collection[str]) -> int | None:
    """How often one of the keys is written, as a key, in a text or further inside; None where that cannot be told."""
    if b"\\u00" in content:
        return None
    ends = [content.find(b"\n", at) + 1 or len(content) for at in range(_PIECE, len(content), _PIECE)]
    cuts = sorted({0, *ends, len(content)})
    any_key = _pattern(*keys)

    def count(begin: int, end: int) -> int:
        return pl.Series([content[begin:end]]).cast(pl.String).str.count_matches(any_key).item()

    try:
        with ThreadPoolExecutor(pl.thread_pool_size()) as threads:
            return sum(threads.map(count, cuts, cuts[1:]))
    except pl.exceptions.PolarsError:  # a line is no UTF-8
        return None


def _suspects(raw: Sequence[bytes], rows: pl.DataFrame, keys: Collection[str]) -> list[int]:
    """Where more keys are written than there are different ones."""
    lines = pl.Series(raw, dtype=pl.Binary).cast(pl.String)
    there = [
        rows[key].is_not_null() | lines.str.contains(_pattern(key))
        if rows[key].null_count()
        else rows[key].is_not_null()
        for key in keys
    ]
    different = pl.DataFrame(there).sum_horizontal()
    return ((lines.str.count_matches(_pattern(*keys)) > different) | lines.str.contains(_ESCAPED)).arg_true().to_list()


def _pattern(*keys: str) -> str:
    return rf'"(?:{"|".join(map(pl.escape_regex, keys))})"\s*:'


def _repeated(value: bytes, keys: Collection[str]) -> str | None:
    try:
        pairs = json.loads(value, object_pairs_hook=list, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):  # that Polars has read and Python cannot
        return None
    counts = Counter(key for key, _ in pairs)
    return next((key for key in keys if counts[key] > 1), None)
