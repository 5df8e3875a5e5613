"""What is learned for ranking: images by alignments that have not seen them, and how dense and sparse are fused."""

import json
from collections.abc import Collection
from typing import Annotated, Any

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl
from numpy.typing import NDArray

from convergence.lake.contracts import StrictColumns, schema_of
from convergence.markdown import table
from convergence.search import alignment, composition, ranking
from convergence.search.fusion import Fusion
from convergence_assets.semantic_search.contracts import MODALITIES
from convergence_assets.semantic_search.encoders import caption_vectors, class_vectors, encoder_of
from convergence_assets.semantic_search.images import labelled
from convergence_assets.semantic_search.judged import MODELS, image_query
from convergence_assets.semantic_search.world import ALIGNED, World
from resources.lake import lake_asset
from resources.lineage import using

FOLDS = 5  # two are left out each time: two fifths of the images, so what is measured is rather too low
UNLEARNED = Fusion(1.0, 0.0, (0.0, 1.0), (0.0, 1.0), (1.0, 0.0))
LEAST = 30  # queries of a judged set, for a ranker to learn from it
CLASSES, RIDGE, HISTOGRAM = "class names alone", "regression alone", "colour histogram"
_FROM: dict[str, Any] = {"key_prefix": "semantic_search"}
_UNDATED = {"not_partitioned": "judged-queries-have-no-calendar"}


class OutOfFold(pa.DataFrameModel):
    """What a caption scores with every image, by alignments that have seen neither its image nor the one scored."""

    candidate: str = pa.Field(description="What took images into the space of the text encoder")
    query_id: str = pa.Field(
        description="The judged query that the caption is", metadata={"from": ["search_items.item_id"]}
    )
    images: Annotated[pl.List, pl.String] = pa.Field(
        description="The images that have captions, by their ids", metadata={"from": ["image_features.item_id"]}
    )
    scores: Annotated[pl.List, pl.Float32] = pa.Field(
        description="Of each of these images",
        metadata={"from": ["image_features.*", "search_items.text", "text_encoder.digest"]},
    )

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": "names of what is compared"}


@lake_asset(
    contract=OutOfFold,
    ins={
        "image_features": using(("features", "logits", "histogram"), **_FROM),
        "search_items": using(("text", "parent_id"), **_FROM),
        "text_encoder": dg.AssetIn(**_FROM),
    },
    code_version="2",
    kinds={"scikitlearn", "deltalake"},
    tags={"layer": "evaluation", **_UNDATED},
    **MODELS,
)
def image_out_of_fold(
    image_features: pl.LazyFrame, search_items: pl.LazyFrame, text_encoder: pl.LazyFrame
) -> pl.DataFrame:
    """Scores of images for captions, by alignments that have seen neither image.

    Grain: candidate and caption. Five folds by image, two left out; parameters are chosen inside the others. Beside it
    its two halves, and a regression from a colour histogram to captions.
    """
    text, known = encoder_of(text_encoder), labelled(image_features, search_items)
    captions, classes = caption_vectors(text, known["captions"].to_list()), class_vectors(text)
    features, logits, histogram = (
        np.asarray(known[name].to_list(), np.float32) for name in ("features", "logits", "histogram")
    )
    candidates: dict[str, tuple[NDArray[np.float32], tuple[float, ...]]] = {
        ALIGNED: (features, alignment.SHARES), CLASSES: (features, (0.0,)), RIDGE: (features, (1.0,)),
        HISTOGRAM: (histogram, (1.0,)),
    }  # fmt: skip
    ids = known.select(pl.col("caption_ids").explode()).select(query_id=image_query("caption_ids"))
    images = pl.lit(known["item_id"].to_list(), pl.List(pl.String)).alias("images")
    parts = []
    for name, (given, shares) in candidates.items():
        scores = alignment.out_of_fold(given, logits, captions, classes, shares=shares, count=FOLDS)
        held = pl.Series("scores", scores.astype(np.float32).tolist(), pl.List(pl.Float32))
        parts.append(ids.select(pl.lit(name).alias("candidate"), "query_id", images, held))
    return pl.concat(parts)


class SearchRanker(pa.DataFrameModel):
    """How one kind of query is ranked in one modality."""

    ranker: str = pa.Field(isin=composition.RANKERS, unique=True, description="Modality, or code for descriptions")
    modality: str = pa.Field(isin=MODALITIES, description="What is ranked")
    encoder: str = pa.Field(
        description="Digest of the encoder that it was learned with: for another its scales say nothing",
        metadata={"from": [f"{m}_encoder.digest" for m in MODALITIES]},
    )
    fusion: str = pa.Field(description="Weights, scales and calibration, as JSON")
    sparse_share: float = pa.Field(ge=0, le=1, description="Weight of the sparse ranking; the rest is the dense one's")
    queries: int = pa.Field(ge=0, description="Queries of the development half that it was learned from")
    report: str = pa.Field(description="Mean reciprocal rank of each share on each judged set, as JSON")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {
            "from": [
                "judged_queries.*",
                *(f"{m}_embeddings.{c}" for m in MODALITIES for c in ("vector", "sparse_indices", "sparse_values")),
            ]
        }


def ranker_of(queries: pl.DataFrame, there: Collection[str] = composition.RANKERS) -> pl.Series:
    """The ranker that answers each query, of those that are there."""
    told = queries.select("modality", "query").iter_rows()
    return pl.Series("ranker", [composition.ranker(m, q, there) for m, q in told], dtype=pl.String)


def learned(world: World, queries: pl.DataFrame) -> pl.DataFrame:
    """SearchRanker rows, from the development half.

    A judged set of which a ranker answers fewer than LEAST has no say, unless it has no other: a handful of queries
    says nothing, and could keep a ranker from what all others gain. A modality's own ranker without queries of its kind
    is learned from all of the modality, and without any it is the dense ranking alone.
    """
    known = world.answerable(queries.filter(pl.col("split") == "development"))
    known = known.with_columns(ranker_of(known))
    found = []
    for ranker in composition.RANKERS:
        modality = composition.modality_of(ranker)
        mine = known.filter(pl.col("ranker") == ranker)
        if mine.is_empty() and ranker != modality:
            continue
        sets = _sets(known.filter(pl.col("modality") == modality) if mine.is_empty() else mine)
        fusion, shares = ranking.learn({n: world.judged(p) for n, p in sets.items()}) if sets else (UNLEARNED, {})
        found.append(
            {
                "ranker": ranker,
                "modality": modality,
                "encoder": encoder.digest if (encoder := world.encoders.get(modality)) else "",
                "fusion": json.dumps(fusion.as_json()),
                "sparse_share": fusion.sparse_weight,
                "queries": sum(part.height for part in sets.values()),
                "report": json.dumps(shares),
            }
        )
    return pl.DataFrame(found, schema=schema_of(SearchRanker))


def _sets(queries: pl.DataFrame) -> dict[str, pl.DataFrame]:
    by_name = queries.sort("query_set", "query_id").partition_by("query_set", as_dict=True)
    every = {str(name): part for (name,), part in by_name.items()}
    return {name: part for name, part in every.items() if part.height >= LEAST} or every


def _shown(rows: pl.DataFrame) -> dict[str, Any]:
    lines = [(r["ranker"], r["queries"], f"{r['sparse_share']:.2f}") for r in rows.iter_rows(named=True)]
    return {"rankers": dg.MetadataValue.md(table(("ranker", "queries", "share of the sparse ranking"), lines))}


def world_ins() -> dict[str, dg.AssetIn]:
    """What a World is made of, and the judged queries."""
    used = ("vector", "sparse_indices", "sparse_values", "language")
    return {
        **{f"{m}_embeddings": using(used, **_FROM) for m in MODALITIES},
        **{f"{m}_encoder": dg.AssetIn(**_FROM) for m in MODALITIES},
        "image_out_of_fold": dg.AssetIn(**_FROM),
        "judged_queries": dg.AssetIn(**_FROM),
    }


@lake_asset(
    contract=SearchRanker,
    ins=world_ins(),
    describe=_shown,
    code_version="2",
    kinds={"scikitlearn", "deltalake"},
    tags={"layer": "model", **_UNDATED},
    **MODELS,
)
def search_rankers(
    text_embeddings: pl.LazyFrame,
    code_embeddings: pl.LazyFrame,
    image_embeddings: pl.LazyFrame,
    text_encoder: pl.LazyFrame,
    code_encoder: pl.LazyFrame,
    image_encoder: pl.LazyFrame,
    image_out_of_fold: pl.LazyFrame,
    judged_queries: pl.LazyFrame,
) -> pl.DataFrame:
    """How dense and sparse rankings are fused, and what a score says of relevance.

    Grain: ranker: a modality, and for code two kinds of query. A convex combination with one number to learn, on the
    development half of the judged queries; the sparse ranking gets a share only where every judged set gains by it.
    """
    points = {"text": text_embeddings, "code": code_embeddings, "image": image_embeddings}
    encoders = {"text": text_encoder, "code": code_encoder, "image": image_encoder}
    return learned(World.of(points, encoders, image_out_of_fold), judged_queries.collect())
