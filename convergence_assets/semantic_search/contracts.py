"""What the tables of items, images and their vectors hold. Columns, checks and documentation come from here."""

from datetime import date
from typing import Annotated

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns

Time = Annotated[pl.Datetime, "us", "UTC"]

# What authors have published of themselves, such as the address in a function's documentation, is no finding
PUBLIC = {"pii": "none"}
MODALITIES = ("text", "code", "image")
CONTENT = ("modality", "title", "text", "code", "object_uri", "object_sha256")  # what is embedded of an item
_HASH = r"^[0-9a-f]{64}$"
_ID = r"^[\w][\w.:-]{0,199}$"


class Event(pa.DataFrameModel):
    """What every row with a time has."""

    event_date: date = pa.Field(description="UTC date of event_time; the partition")
    event_time: Time = pa.Field(description="When the item came into being, on the replay clock")
    arrived_at: Time = pa.Field(description="When the platform could first have known it")

    class Config(StrictColumns):
        """Columns are as declared."""


class _Described(Event):
    """What a producer says of an item: words, or where an image lies."""

    item_id: str = pa.Field(str_matches=_ID, description="The item, whatever becomes of its content")
    modality: str = pa.Field(isin=MODALITIES, description="What it is: text, code or image")
    title: str = pa.Field(nullable=True, description="A name: of a function, of an image's file")
    text: str = pa.Field(
        nullable=True,
        description="Text: a caption, or what a function's documentation says",
        metadata=PUBLIC,
    )
    code: str = pa.Field(nullable=True, description="Source code", metadata=PUBLIC)
    language: str = pa.Field(nullable=True, description="Language, of people or of programs: en, python, java")
    object_uri: str = pa.Field(
        nullable=True, description="Where an image lies: published:, object:, https: or simulated:"
    )
    object_sha256: str = pa.Field(nullable=True, str_matches=_HASH, description="SHA-256 that its bytes must have")
    parent_id: str = pa.Field(nullable=True, description="The item that it belongs to: a caption's image")
    licence: str = pa.Field(nullable=True, description="Licence under which it may be used")

    @pa.dataframe_check(name="has_what_its_modality_needs")
    @classmethod
    def has_content(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """An image lies somewhere; text and code are there."""
        needed = {"image": "object_uri", "text": "text", "code": "code"}
        content = pl.coalesce(pl.when(pl.col("modality") == m).then(pl.col(c)) for m, c in needed.items())
        return data.lazyframe.select(content.is_not_null())


class RawItem(_Described):
    """An item as it arrived."""

    source: str = pa.Field(description="Partition of the topic that the message came from")
    offset: int = pa.Field(ge=0, description="Position of the message in its source")

    class Config(Event.Config):
        """Columns are as declared."""


class SearchItem(_Described):
    """An item of a day, without repeats."""

    item_id: str = pa.Field(unique=True, str_matches=_ID, description="The item, whatever becomes of its content")
    content_hash: str = pa.Field(
        str_matches=_HASH,
        description="SHA-256 of what is embedded: equal content is embedded once",
        metadata={"from": [f"raw_items.{name}" for name in CONTENT]},
    )

    class Config(Event.Config):
        """Columns are as declared."""


class SearchImage(Event):
    """An image that was fetched, decoded in a child process, and kept in the object store."""

    item_id: str = pa.Field(unique=True, str_matches=_ID, description="The item that is this image")
    title: str = pa.Field(nullable=True, description="Its name")
    licence: str = pa.Field(nullable=True, description="Licence under which it may be used")
    sha256: str = pa.Field(str_matches=_HASH, description="Its name in the object store: SHA-256 of its bytes")
    thumbnail_sha256: str = pa.Field(str_matches=_HASH, description="Name of a small JPEG of it, made here")
    format: str = pa.Field(description="What it was decoded as: JPEG, PNG, WEBP or GIF")
    width: int = pa.Field(gt=0, description="Width, turned upright", metadata={"unit": "pixels"})
    height: int = pa.Field(gt=0, description="Height, turned upright", metadata={"unit": "pixels"})
    bytes: int = pa.Field(gt=0, description="Size of the file", metadata={"unit": "bytes"})

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {"rows_of": "search_items", "from": ["search_items.object_uri", "search_items.object_sha256"]}


class Embedding(Event):
    """The vectors of an item, by one encoder."""

    item_id: str = pa.Field(unique=True, str_matches=_ID, description="The item")
    content_hash: str = pa.Field(str_matches=_HASH, description="SHA-256 of what was embedded")
    encoder: str = pa.Field(str_matches=_HASH, description="Digest of the encoder that the vector is of")
    language: str = pa.Field(nullable=True, description="Language, of people or of programs")
    vector: Annotated[pl.List, pl.Float32] = pa.Field(description="Dense vector of unit length")
    sparse_indices: Annotated[pl.List, pl.Int64] = pa.Field(description="Hashes of the item's words")
    sparse_values: Annotated[pl.List, pl.Float32] = pa.Field(description="BM25 weight of each of these words")
    payload: str = pa.Field(description="What a result shows of the item, as JSON")

    @pa.dataframe_check(name="vectors_have_unit_length")
    @classmethod
    def unit_length(cls, data: pa.PolarsData) -> pl.LazyFrame:
        """No vector is zero, not a number, or of another length than one."""
        squares = pl.col("vector").list.eval(pl.element().cast(pl.Float64) ** 2).list.sum()
        return data.lazyframe.select((squares - 1).abs() < 1e-3)

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {"from": ["*"]}
