"""What of arriving messages belongs to a data subject who was erased, in typed rows and in texts that are no row yet.

A text that could not be read is judged by its words: one too many of those that nobody can use is a smaller loss than
one too few.
"""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

import polars as pl

from convergence.arrivals.topics import Topic
from convergence.lake.contracts import subjects_of
from convergence.lake.erasures import Erasures

_HEX = "no UTF-8, in hex: "  # how the codec tells of a message that is no text


def without_erased(topic: Topic, rows: pl.DataFrame, erasures: Erasures) -> pl.DataFrame:
    """The rows, with the topic's columns or those of REJECTED, of subjects who were not erased."""
    for kind, column in subjects_of(topic.contract).items():
        if not erasures.concern([kind]):
            continue
        if column in rows.columns:
            rows = rows.filter(~erasures.erased(kind, rows[column]))
        else:
            rows = rows.filter(~_names(rows["row"], {column, topic.original(column)}, kind, erasures))
    return rows


def ids_in(text: str, fields: Collection[str]) -> set[str]:
    """What a text may name as a subject: in JSON the values of these fields, at any depth, else each of its words."""
    if text.startswith(_HEX):
        text = bytes.fromhex(text.removeprefix(_HEX)).decode(errors="replace")
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict | list):
        return set(re.split(r"[^\w@.+-]+", text)) | set(re.findall(r"\w+", text))
    return {form for value in _values(read, fields) for form in forms(value)}


def forms(value: Any) -> set[str]:
    """The ways to write an id: as it is, and without what a number does not need."""
    text = str(value).strip()
    whole = re.fullmatch(r"([+-]?\d{1,30})(\.0*)?", text)
    return {text, str(int(whole[1]))} if whole else {text}


def _names(texts: pl.Series, fields: Collection[str], kind: str, erasures: Erasures) -> pl.Series:
    found = [sorted(ids_in(text, fields)) if text is not None else [] for text in texts]
    ids = pl.DataFrame({"at": range(len(found)), "id": pl.Series(found, dtype=pl.List(pl.String))}).explode("id")
    gone = ids.filter(erasures.erased(kind, ids["id"]))["at"].unique()
    return pl.Series(range(len(found)), dtype=pl.Int64).is_in(gone.cast(pl.Int64).implode())


def _values(read: Any, fields: Collection[str]) -> Iterator[Any]:
    if isinstance(read, dict):
        for name, value in read.items():
            if name in fields and not isinstance(value, dict | list):
                yield value
            yield from _values(value, fields)
    elif isinstance(read, list):
        for value in read:
            yield from _values(value, fields)
