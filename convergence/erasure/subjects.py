"""Whom to erase, and what each store answers: stores know how to find a subject, nobody keeps its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import polars as pl

from convergence.arrivals.erased import forms, ids_in


@dataclass(frozen=True)
class Subject:
    """One person. `columns` are the tables that name its kind, upstream first, each with the column that does."""

    kind: str
    id: str
    columns: Mapping[str, str]
    originals: Mapping[str, str]  # names of these columns in messages, by table that they land in

    @cached_property
    def ids(self) -> set[str]:
        """The id in each form that it may be written in."""
        return forms(self.id)

    @cached_property
    def fields(self) -> set[str]:
        """Every name that the id goes by, in tables and in messages."""
        return {*self.columns.values(), *self.originals.values()}

    def typed(self, kind: pl.DataType) -> pl.Series:
        """The id as a column of this type holds it; empty where it cannot."""
        return pl.Series(sorted(self.ids), dtype=pl.String).cast(kind, strict=False).drop_nulls().unique()

    def named_in(self, text: str | None) -> bool:
        """Whether a text that is no row names the subject."""
        return text is not None and not self.ids.isdisjoint(ids_in(text, self.fields))

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


@dataclass(frozen=True)
class Erased:
    """What a store removed, or would remove: how many entries, and where they lay, without naming anybody."""

    entries: int
    where: Sequence[str] = ()


class Store(Protocol):
    """Something beside the lake's tables that may hold a subject."""

    @property
    def name(self) -> str:
        """For the certificate."""
        ...

    def erase(self, subject: Subject, *, dry_run: bool) -> Erased:
        """Remove the subject, or with `dry_run` only look; asked again it removes what an interrupted call left."""
        ...
