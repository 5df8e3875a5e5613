"""Vectors of each day's texts, functions and images, by the encoders that are assets upstream.

A vector depends on content and encoder alone. So one that this table holds already, of any day, is taken from it: that
spares the work and cannot change the result, and a run of unchanged items encodes nothing.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.lake.contracts import schema_of
from convergence.lake.tables import Lake
from convergence.search import composition
from convergence.search.encoders import Encoder, opened
from convergence.search.items import Item
from convergence_assets.semantic_search.contracts import Embedding
from convergence_assets.semantic_search.encoders import encoder_of
from convergence_assets.semantic_search.items import DAILY, OWNED
from resources.keys import key_of, table_of
from resources.lake import Described, lake_asset
from resources.lineage import using

Rows = Sequence[dict[str, Any]]
Encode = Callable[[Rows], NDArray[np.float32]]
Words = Callable[[dict[str, Any]], str]

_SEEN = 5  # classes that an image is also found by the names of
_FROM: dict[str, Any] = {"key_prefix": "semantic_search"}
_ASSET: dict[str, Any] = {"contract": Embedding, "partitions_def": DAILY, "code_version": "1",
                          "kinds": {"deltalake", "qdrant"}, "tags": {"layer": "embedding"}, **OWNED}  # fmt: skip


def embedded(
    items: pl.DataFrame, modality: str, graph: str, known: pl.DataFrame, encode: Encode, words: Words
) -> tuple[pl.DataFrame, int]:
    """Embedding rows of items, and how many contents were encoded anew.

    Args:
        items: with `content_hash`, Event columns, and what a result shows.
        modality: of all of them.
        graph: digest of the graph that encodes them.
        known: Embedding rows of any days; the vectors of equal content by the same graph are taken from them.
        encode: unit vectors (n, d) of items.
        words: what an item's sparse vector is made of.
    """
    held = known.filter(pl.col("encoder") == graph).unique("content_hash", maintain_order=True)
    new = items.join(held, on="content_hash", how="anti").unique("content_hash", maintain_order=True)
    made = encode(new.to_dicts()).tolist() if new.height else []
    fresh = new.select("content_hash").with_columns(pl.Series("vector", made, pl.List(pl.Float32)))
    vectors = pl.concat([held.select("content_hash", "vector"), fresh])
    rows = items.join(vectors, on="content_hash", how="left", maintain_order="left")
    terms = composition.TERMS[modality]
    weights = [terms.document(words(row)) for row in items.to_dicts()]
    rows = rows.with_columns(
        pl.Series("sparse_indices", [w.indices for w in weights], pl.List(pl.Int64)),
        pl.Series("sparse_values", [w.values for w in weights], pl.List(pl.Float32)),
        pl.Series("payload", [_shown(row).as_payload() for row in items.to_dicts()], pl.String),
        encoder=pl.lit(graph),
    )
    return rows.select(schema_of(Embedding).names()), fresh.height


def _shown(row: dict[str, Any]) -> Item:
    names = {"object_sha256": "sha256"}
    fields = ("title", "text", "code", "language", "object_sha256", "thumbnail_sha256", "parent_id", "licence")
    return Item(day=str(row["event_date"]), **{f: row.get(names.get(f, f)) for f in fields})


def _of_day(context: dg.AssetExecutionContext, rows: pl.DataFrame, new: int, encoder: Encoder) -> Described:
    context.log.info(f"{rows.height} items, {new} contents encoded, the others known; encoder {encoder.digest[:12]}")
    days = {day: {"encoded_in_this_run": new, "encoder": encoder.digest} for day in context.partition_keys}
    return Described(rows, days)


def _known(context: dg.AssetExecutionContext, contents: pl.Series) -> pl.DataFrame:
    """What the asset's own table holds of these contents."""
    lake: Lake = context.resources.lake.lake
    table = table_of(context.asset_key)
    if lake.open(table) is None:
        return pl.DataFrame(schema=schema_of(Embedding))
    return lake.scan(table).filter(pl.col("content_hash").is_in(contents.implode())).collect()


def _of_words(modality: str, description: str) -> dg.AssetsDefinition:
    """The asset of a modality that is made of words."""

    @lake_asset(
        name=f"{modality}_embeddings",
        ins={
            "search_items": using(("modality", "title", "text", "code"), **_FROM),
            "encoder": using(("digest",), key=key_of(f"semantic_search/{modality}_encoder")),
        },
        description=description,
        **_ASSET,
    )  # fmt: skip
    def embeddings(context: dg.AssetExecutionContext, search_items: pl.LazyFrame, encoder: pl.LazyFrame) -> Described:
        stored = encoder_of(encoder)
        model = opened(stored)
        items = search_items.filter(pl.col("modality") == modality).sort("event_time", "item_id").collect()
        known = _known(context, items["content_hash"])

        def encode(rows: Rows) -> NDArray[np.float32]:
            return model.encode_documents([composition.content(row) for row in rows])

        rows, new = embedded(items, modality, stored.document.digest, known, encode, composition.words)
        return _of_day(context, rows, new, model)

    return embeddings


text_embeddings = _of_words(
    "text",
    """Vectors of the texts, dense and sparse.

Grain: text. Dense by the text encoder, sparse by BM25; equal content by the same encoder is encoded once.""",
)
code_embeddings = _of_words(
    "code",
    """Vectors of the functions, dense and sparse.

Grain: function. Dense by the code encoder, of the code with its documentation; sparse by BM25 of name, documentation
and code, identifiers split. Equal content by the same encoder is encoded once.""",
)


@lake_asset(
    ins={
        "search_images": using(("sha256", "title", "thumbnail_sha256", "licence"), **_FROM),
        "image_encoder": using(("digest",), **_FROM),
        "image_features": using(("logits",), **_FROM),
    },
    required_resource_keys={"objects"},
    **_ASSET,
)
def image_embeddings(
    context: dg.AssetExecutionContext,
    search_images: pl.LazyFrame,
    image_encoder: pl.LazyFrame,
    image_features: pl.LazyFrame,
) -> Described:
    """Vectors of the images, dense and sparse.

    Grain: image. Dense by the image encoder, on pixels from the decoder's child process, in the space of its queries;
    sparse by BM25 of the names of the classes that the backbone sees first. Equal bytes by the same encoder are encoded
    once.
    """
    from convergence.search.image_backbone import class_names

    stored, objects, names = encoder_of(image_encoder), context.resources.objects, class_names()
    model = opened(stored)
    seen = image_features.select("event_date", "item_id", "logits")
    rows = search_images.join(seen, on=["event_date", "item_id"], how="inner").sort("event_time", "item_id").collect()
    images = rows.with_columns(content_hash="sha256", language=pl.lit(None, pl.String))

    def encode(wanted: Rows) -> NDArray[np.float32]:
        settings = json.loads(stored.document.settings)
        with objects.decoder() as decoder:
            pixels = [decoder.pixels(objects.store.get(row["sha256"]), **settings) for row in wanted]
        return model.encode_documents(pixels)

    def words(row: dict[str, Any]) -> str:
        first = np.argsort(-np.asarray(row["logits"]), kind="stable")[:_SEEN]
        return " ".join(names[i] for i in first)

    known = _known(context, images["content_hash"])
    made, new = embedded(images, "image", stored.document.digest, known, encode, words)
    return _of_day(context, made, new, model)
