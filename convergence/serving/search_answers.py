"""What the search service answers, as its OpenAPI page shows it, and how results become that."""

from typing import Any
from urllib.parse import urlencode

from pydantic import BaseModel, Field

from convergence.search.query import Result
from convergence.serving.highlighting import tokens

THUMBNAILS = "/v1/thumbnails"


class SearchResult(BaseModel):
    """An item, best first. Its texts came from outside: they are data, never markup."""

    item_id: str = Field(examples=["image-7"])
    modality: str = Field(examples=["image"])
    relevance: float = Field(ge=0, le=1, description="Calibrated probability that the item is relevant")
    score: float = Field(description="Fused, on the scale of its modality")
    dense: float | None = Field(description="Cosine; null: not among the nearest")
    sparse: float | None = Field(description="BM25; null: no term in common, or not asked")
    day: str = Field(examples=["2024-05-01"])
    title: str | None
    text: str | None
    code: str | None
    highlighted: list[tuple[str, str]] | None = Field(description="The code as (Pygments class, text)")
    language: str | None = Field(examples=["python"])
    object_sha256: str | None
    thumbnail: str | None = Field(description="Address of a JPEG", examples=[f"{THUMBNAILS}/{'0' * 64}?item=image-7"])
    parent_id: str | None = Field(description="Of a caption: its image")
    licence: str | None
    matched: list[str] = Field(description="Words of the item that the query has too, in one form or another")


class SearchAnswer(BaseModel):
    """A page of results, all of one index."""

    request_id: str
    index_version: str
    modalities: list[str] = Field(description="That were searched")
    offset: int = Field(description="Results on the pages before")
    total: int = Field(description="Results on all pages together; no query has more than the pool of the index")
    results: list[SearchResult]
    next: str | None = Field(description="The `cursor` of the next page; null: this is the last")
    took_ms: float


class SearchHealth(BaseModel):
    """Whether the service can be used, and why not."""

    usable: bool
    index_version: str | None
    modalities: dict[str, int] = Field(description="Items of each", examples=[{"image": 214, "text": 1070}])
    problems: list[str]


def shown(result: Result) -> dict[str, Any]:
    """A result as JSON."""
    item = result.item
    return {
        **{name: getattr(result, name) for name in ("item_id", "modality", "relevance", "score", "dense", "sparse")},
        **{name: getattr(item, name) for name in ("day", "title", "text", "code", "language", "object_sha256")},
        **{name: getattr(item, name) for name in ("parent_id", "licence")},
        "highlighted": tokens(item.code, item.language) if item.code is not None else None,
        "thumbnail": f"{THUMBNAILS}/{item.thumbnail_sha256}?{urlencode({'item': result.item_id})}"
        if item.thumbnail_sha256
        else None,
        "matched": list(result.matched),
    }
