"""What of arriving messages belongs to a data subject who was erased, in typed rows and in texts that are no row yet.

A text that could not be read is judged by each of its values and words: one too many of those that nobody can use is a
smaller loss than one too few. A number is what it is by where it stands: where a field that names subjects holds one,
other numbers beside it name nobody.
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any

import polars as pl

from convergence.arrivals.topics import SCHEMA_VERSION, Topic
from convergence.lake.contracts import subjects_of
from convergence.lake.erasures import Erasures

NO_UTF8 = "no UTF-8"  # how quarantine begins to tell of bytes that are no text, as a message, a key or a value
_HEX = re.compile(rf"{NO_UTF8}, in hex: ((?:[0-9a-fA-F]{{2}})+)")
_ABOUT = {"source", "reason", SCHEMA_VERSION}  # of a rejected message: what the platform says of it
_ESCAPED = re.compile(r"(?:\\x[0-9a-fA-F]{2})+|\\u[0-9a-fA-F]{4}")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?\b")
_HALVES = re.compile("[\ud800-\udfff]")  # of characters, in a text that was cut or escaped wrongly: no id has them
_NUMBER = re.compile(r"([+-]?\d{1,30})(\.0*)?")


def without_erased(topic: Topic, rows: pl.DataFrame, erasures: Erasures) -> pl.DataFrame:
    """The rows, with the topic's columns or those of REJECTED, of subjects who were not erased."""
    for kind, column in subjects_of(topic.contract).items():
        if not erasures.concern([kind]):
            continue
        if column in rows.columns:
            rows = rows.filter(~erasures.erased(kind, rows[column]))
        else:
            rows = rows.filter(~_names(rows, {column, topic.original(column)}, kind, erasures))
    return rows


def texts_of(rejected: pl.DataFrame) -> pl.DataFrame:
    """The columns of rejected rows that hold what came, as text, whatever they are called."""
    kept = [c for c in rejected if c.dtype in (pl.String, pl.Binary) and c.name not in _ABOUT]
    return pl.DataFrame(kept)


def ids_in(text: str | bytes, fields: Collection[str]) -> set[str]:
    """What a text may name as a subject: each value and word, in JSON also each value of a key that stands twice.

    Numbers count in JSON only under `fields` where one of these holds a number, at any depth.
    """
    return {one for reading in readings(text) for one in _ids(reading, fields) if not _HALVES.search(one)}


def ids_among(values: Iterable[tuple[str | None, Any]], fields: Collection[str]) -> set[str]:
    """What the values of a row, each with its name, may name as a subject; of numbers as `ids_in` says."""
    named: set[str] = set()
    others: set[str] = set()
    for name, value in values:
        if value is not None:
            (named if name in fields else others).update(forms(value), _words(str(value)))
    if any(map(is_number, named)):
        others = {one for one in others if not is_number(one)}
    return named | others


def readings(text: str | bytes) -> Iterator[str]:
    """A text in each way that it may have been written: escaped or in hex where it was no UTF-8, UTF-16 without BOM."""
    if isinstance(text, bytes):
        yield text.decode(errors="replace")
        if b"\0" in text:
            yield text.replace(b"\0", b"").decode(errors="replace")
            yield from (text.decode(encoding, errors="replace") for encoding in ("utf-16-le", "utf-16-be"))
        if b"\xff" in text or not _is_utf8(text):
            yield text.decode("latin-1")
        return
    yield text
    for found in _HEX.finditer(text):
        yield from readings(bytes.fromhex(found[1]))
    if "\0" in text:
        yield text.replace("\0", "")
    if "\\" in text:
        for encoding in ("utf-8", "latin-1"):
            plain = _ESCAPED.sub(lambda found, encoding=encoding: _unescaped(found[0], encoding), text)
            yield from {plain, plain.replace("\0", "")}


def forms(value: Any) -> set[str]:
    """The ways to write an id: as it is, and without what a number does not need."""
    text = str(value).strip()
    whole = _NUMBER.fullmatch(text)
    return {text, str(int(whole[1]))} if whole else {text}


def is_number(value: str) -> bool:
    """Whether an id is a whole number, so that it may as well be an amount."""
    return _NUMBER.fullmatch(value) is not None


def _names(rows: pl.DataFrame, fields: Collection[str], kind: str, erasures: Erasures) -> pl.Series:
    """Which rejected rows name a subject of the kind who was erased; Boolean."""
    texts = texts_of(rows).rows()
    found = [sorted({one for t in row if t is not None for one in ids_in(t, fields)}) for row in texts]
    ids = pl.DataFrame({"at": range(len(found)), "id": pl.Series(found, dtype=pl.List(pl.String))}).explode("id")
    gone = ids.filter(erasures.erased(kind, ids["id"]))["at"].unique()
    return pl.Series(range(len(found)), dtype=pl.Int64).is_in(gone.cast(pl.Int64).implode())


def _ids(text: str, fields: Collection[str]) -> set[str]:
    with suppress(ValueError, RecursionError):
        read = json.loads(text, object_pairs_hook=tuple)  # pairs: a key that stands twice has two values
        if isinstance(read, tuple | list):
            return ids_among(_values(read, None), fields)
    return _words(text)


def _values(read: Any, name: str | None) -> Iterator[tuple[str | None, Any]]:
    if isinstance(read, tuple):
        for key, value in read:
            yield None, key
            yield from _values(value, key)
    elif isinstance(read, list):
        for value in read:
            yield from _values(value, name)
    else:
        yield name, read


def _words(text: str) -> set[str]:
    """The words of a text. A number with a point, and a time, is one word: its parts name nobody."""
    found: set[str] = set()
    for word in re.split(r"[^\w@.+-]+", _TIME.sub(" ", text)):
        found |= {*forms(word), *forms(word.strip(".+-@"))}
        if not re.fullmatch(r"[\d.+-]*", word):
            found |= {*re.split(r"[^\w-]+", word), *re.findall(r"\w+", word)}
    return found - {""}


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unescaped(escaped: str, encoding: str) -> str:
    if escaped.startswith("\\u"):
        return chr(int(escaped[2:], 16))
    return bytes.fromhex(escaped.replace("\\x", "")).decode(encoding, errors="replace")
