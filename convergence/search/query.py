"""What is asked of an index and what it answers; queries are values, so that an answer can be kept under its query."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
from numpy.typing import NDArray

from convergence.errors import SearchError
from convergence.search.items import Item

LONGEST = {"text": 500, "code": 4_000}  # characters


@dataclass(frozen=True)
class Picture:
    """An image by the sha256 of its bytes. `pixels` makes what the image encoder of the index takes, uint8 (s, s, 3).

    It is called when it is needed: an answer that is known already needs no decoding.
    """

    sha256: str
    pixels: Callable[[], NDArray[np.uint8]] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Query:
    """One question: exactly one of `text`, `code` and `image`, and what may answer it.

    No `modalities`: all that can answer this kind of question. Days are event dates, both included. No `languages`:
    all, and items without one. `without`: items that are no answer. Raises SearchError where it is none.
    """

    text: str | None = None
    code: str | None = None
    image: Picture | None = None
    modalities: tuple[str, ...] = ()
    first_day: date | None = None
    last_day: date | None = None
    languages: frozenset[str] | None = None
    without: frozenset[str] = frozenset()
    limit: int = 20
    offset: int = 0

    def __post_init__(self) -> None:
        given = [name for name in ("text", "code", "image") if getattr(self, name) is not None]
        if len(given) != 1:
            raise SearchError(f"a query has one of text, code and image, this one has {', '.join(given) or 'none'}")
        if not self.image and not self.words.strip():
            raise SearchError(f"the {given[0]} of the query is blank: say what to look for")
        if not self.image and len(self.words) > LONGEST[given[0]]:
            most = LONGEST[given[0]]
            raise SearchError(f"the {given[0]} of the query has {len(self.words):,} characters, at most {most:,}")
        if self.first_day and self.last_day and self.first_day > self.last_day:
            raise SearchError(f"the first day, {self.first_day}, is after the last, {self.last_day}: exchange them")
        if self.limit < 1 or self.offset < 0:
            raise SearchError("a page has at least one result and does not begin before the first")

    @property
    def words(self) -> str:
        """The text or code that is asked with; empty for an image."""
        return self.text or self.code or ""


@dataclass(frozen=True)
class Result:
    """An item that answers.

    `relevance`: the calibrated probability that it is relevant, [0, 1]; `score`: fused, of its modality; `dense`,
    `sparse`: the parts, None where that list did not have it. `matched`: words of the item that the query has too, in
    one form or another.
    """

    item_id: str
    modality: str
    relevance: float
    score: float
    dense: float | None
    sparse: float | None
    item: Item
    matched: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A page of results, best first, all of one snapshot; `total`: how many results all pages have together."""

    version: str
    results: Sequence[Result]
    total: int
