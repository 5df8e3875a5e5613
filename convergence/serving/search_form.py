"""The form of a search request: what is refused before anything is searched, and the cursor of the next page.

A cursor names its index and its question, so that a page of one is never continued in another.
"""

import json
import re
import unicodedata
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from convergence.search.query import LONGEST, Query
from convergence.serving.problems import Refused

MOST_RESULTS = 100  # on a page
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_SPACES = frozenset("\t\n\r")


class Filters(BaseModel):
    """What every search takes."""

    model_config = ConfigDict(extra="forbid")

    modality: str | None = Field(
        None, max_length=100, description="Some of those of the index, with commas; default: all that can answer",
        examples=["image,text"],
    )  # fmt: skip
    first: date | None = Field(None, alias="from", description="First day of the event", examples=["2024-05-01"])
    to: date | None = Field(None, description="Last day of the event, included", examples=["2024-05-31"])
    language: str | None = Field(None, max_length=200, description="Some, with commas", examples=["python,java"])
    limit: int = Field(20, ge=1, le=MOST_RESULTS, description="Results on a page")
    cursor: str | None = Field(None, max_length=500, description="`next` of the page before, with the same question")

    @field_validator("first", "to", mode="before")
    @classmethod
    def _is_day(cls, value: Any) -> Any:
        if isinstance(value, str) and not _DAY.fullmatch(value):
            raise ValueError("a day is of the form 2024-05-31")
        return value

    @field_validator("modality", "language", "cursor")
    @classmethod
    def _is_plain(cls, value: str | None) -> str | None:
        return _without_controls(value)

    @model_validator(mode="after")
    def _is_in_order(self) -> "Filters":
        if self.first and self.to and self.first > self.to:
            raise ValueError("`from` is after `to`")
        return self

    def narrowed(self, **asked: Any) -> Query:
        """The query that asks this, from its first page. Raises SearchError for none."""
        return Query(
            **asked,
            modalities=tuple(sorted(set(_parts(self.modality)))),
            first_day=self.first,
            last_day=self.to,
            languages=frozenset(_parts(self.language)) or None,
            limit=self.limit,
        )


class Question(Filters):
    """What a search by words takes."""

    q: str | None = Field(None, max_length=LONGEST["text"], description="Words", examples=["a red bus"])
    code: str | None = Field(None, max_length=LONGEST["code"], description="Code: finds code like it")
    like: str | None = Field(
        None,
        max_length=200,
        description="`item_id` of an item of the index: finds what is like it",
        examples=["code-3"],
    )

    @field_validator("q", "code", "like")
    @classmethod
    def _is_text(cls, value: str | None, info: Any) -> str | None:
        value = _without_controls(value, but=_SPACES if info.field_name == "code" else frozenset())
        if value is not None and not value.strip():
            raise ValueError("it is blank")
        return value

    @model_validator(mode="after")
    def _is_one(self) -> "Question":
        if sum(value is not None for value in (self.q, self.code, self.like)) != 1:
            raise ValueError("ask with exactly one of q, code and like")
        return self


@dataclass(frozen=True)
class Cursor:
    """Where a page begins: in which index, for which question, after how many results."""

    version: str
    question: str
    offset: int

    @classmethod
    def read(cls, text: str) -> "Cursor":
        """The cursor of a text. Raises Refused (422) where it is none."""
        try:
            version, question, offset = json.loads(urlsafe_b64decode(text.encode()))
            if isinstance(version, str) and isinstance(question, str) and type(offset) is int and 0 < offset < 10**6:
                return cls(version, question, offset)
        except (ValueError, TypeError, RecursionError):
            pass
        raise Refused(422, "invalid_cursor", "the cursor is none of this service", "take `next` of an answer as it is")

    def __str__(self) -> str:
        """Opaque; stands in an address as it is."""
        told = json.dumps([self.version, self.question, self.offset], separators=(",", ":"))
        return urlsafe_b64encode(told.encode()).decode()


def question_of(query: Query) -> str:
    """A short hash of all that a query asks but its place and page size."""
    image = query.image.sha256 if query.image else None
    asked = [query.text, query.code, image, query.modalities, str(query.first_day), str(query.last_day)]
    asked += [sorted(query.languages or ()), sorted(query.without)]
    return sha256(json.dumps(asked).encode()).hexdigest()[:16]


def _parts(text: str | None) -> list[str]:
    return [part.strip() for part in (text or "").split(",") if part.strip()]


def _without_controls(value: str | None, but: frozenset[str] = frozenset()) -> str | None:
    if value and any(unicodedata.category(sign) == "Cc" and sign not in but for sign in value):
        raise ValueError("it has control characters")
    return value
