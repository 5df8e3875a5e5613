"""Whom to erase, and what each store answers: stores know how to find a subject, nobody keeps its name."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import polars as pl

from convergence.arrivals.erased import NO_UTF8, forms, ids_among, ids_in, is_number, readings

_POWER = re.compile(r"\d[eE][+-]?\d")


@dataclass(frozen=True)
class Subject:
    """One person. `columns` are the tables that name its kind, upstream first, each with the column that does."""

    kind: str
    id: str
    columns: Mapping[str, str]
    originals: Mapping[str, str]  # names of these columns in messages, by table that they land in
    events: Mapping[str, str] = field(default_factory=dict)  # tables that name an event of it, and the column
    instead: frozenset[str] = frozenset()  # ids to look for in place of `id`: those of its events

    @cached_property
    def ids(self) -> set[str]:
        """The id in each form that it may be written in."""
        return set(self.instead) or forms(self.id)

    @cached_property
    def fields(self) -> set[str]:
        """Every name that the id goes by, in tables and in messages."""
        return {*self.columns.values(), *self.originals.values()}

    def masked(self, place: str) -> str:
        """The name of a place without the subject's."""
        for each in () if self.numbered else sorted(self.ids):
            place = place.replace(each, "***")
        return place

    def as_events(self, ids: Iterable[str]) -> "Subject":
        """Its events, for the tables that name them and not the subject itself."""
        others = {table: column for table, column in self.events.items() if table not in self.columns}
        return Subject(self.kind, "", others, {}, instead=frozenset(ids))

    def typed(self, kind: pl.DataType) -> pl.Series:
        """The id as a column of this type holds it; empty where it cannot."""
        return pl.Series(sorted(self.ids), dtype=pl.String).cast(kind, strict=False).drop_nulls().unique()

    @cached_property
    def numbered(self) -> bool:
        """Whether the id is a number, which in text and other columns may as well be an amount."""
        return any(map(is_number, self.ids))

    @cached_property
    def _phrase(self) -> re.Pattern[str] | None:
        """The id where it is more than a word, such as a name with a space."""
        more = [re.escape(each) for each in sorted(self.ids) if not re.fullmatch(r"[\w@.+-]+", each)]
        return re.compile(rf"(?<!\w)(?:{'|'.join(more)})(?!\w)") if more else None

    def named_in(self, text: str | bytes | None) -> bool:
        """Whether a text that is no row names the subject, in any of its values and words."""
        if text is None or not self._may_be_in(text):
            return False
        if self._phrase and any(self._phrase.search(reading) for reading in readings(text)):
            return True
        return not self.ids.isdisjoint(ids_in(text, self.fields))

    def named_among(self, values: Sequence[tuple[str | None, str]]) -> bool:
        """Whether the values of a line, each with the name of its column if that is known, name the subject."""
        if not self._may_be_in(" ".join(value for _, value in values)):
            return False
        said = [value for name, value in values if name in self.fields and is_number(value.strip())]
        if self.numbered and said:
            return any(not self.ids.isdisjoint(forms(value)) for value in said)
        if self._phrase and any(self._phrase.search(value) for _, value in values):
            return True
        return not self.ids.isdisjoint(ids_among(values, self.fields))

    def _may_be_in(self, text: str | bytes) -> bool:
        """A quick no for most texts: only what is escaped, or a number in powers of ten, has not the id in it."""
        if isinstance(text, bytes) or "\\" in text or "\0" in text or NO_UTF8 in text:
            return True
        return any(each in text for each in self.ids) or (self.numbered and _POWER.search(text) is not None)

    def rows_of(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows name the subject in any of its columns; Boolean."""
        found = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
        for name in sorted(self.fields & set(frame.columns)):
            texts = frame[name].unique().drop_nulls().to_list()
            mine = pl.Series(
                [value for value in texts if not self.ids.isdisjoint(forms(value))], dtype=frame[name].dtype
            )
            found |= frame[name].is_in(mine.implode()).fill_null(False)
        return found

    def rows_naming(self, frame: pl.DataFrame) -> pl.Series:
        """Which rows name the subject in any column: its own, or words and values of any other; Boolean."""
        found, says = self.rows_of(frame), pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
        for name in self.fields & set(frame.columns) if self.numbered else ():
            if not (frame[name].dtype.is_nested() or frame[name].dtype == pl.Binary):  # these hold it further inside
                says |= frame[name].is_not_null()  # the row says by number whom it names: no other number does
        maybe = pl.repeat(False, frame.height, dtype=pl.Boolean, eager=True)
        for column in frame:
            maybe |= self._maybe(column)
        for at in (maybe & ~found & ~says).arg_true():
            found[at] = self.named_in(json.dumps(frame.row(at, named=True), default=_told))
        return found

    def _maybe(self, column: pl.Series) -> pl.Series:
        """Which values are worth a closer look."""
        if column.dtype == pl.String:
            return column.str.contains_any(sorted(self.ids)).fill_null(False)
        if column.dtype.is_integer() or column.dtype.is_float():
            return column.is_in(self.typed(column.dtype).implode()).fill_null(False)
        return column.is_not_null() & (not column.dtype.is_temporal() and column.dtype != pl.Boolean)


@dataclass(frozen=True)
class NotSearched:
    """A place that could not be looked through, or that still names the subject, and why: somebody has to see to it."""

    where: str  # below the home folder
    why: str


@dataclass(frozen=True)
class Erased:
    """What a store removed, or would remove: how many entries, and where they lay, without naming anybody."""

    entries: int
    where: Sequence[str] = ()
    not_searched: Sequence[NotSearched] = ()


class Store(Protocol):
    """Something beside the lake's tables that may hold a subject."""

    @property
    def name(self) -> str:
        """For the certificate."""
        ...

    @property
    def how(self) -> str:
        """By what it is searched; for the certificate."""
        ...

    def erase(self, subject: Subject, *, dry_run: bool) -> Erased:
        """Remove the subject, or with `dry_run` only look; asked again it removes what an interrupted call left."""
        ...


def _told(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
