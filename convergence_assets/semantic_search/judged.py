"""Queries whose right answers are known: what encoders are chosen by, fusion is learned from, and gates are held to.

Each query is in one of two halves, drawn by a hash of what must stay together: one to develop on, one to test with.
"""

from hashlib import sha256
from pathlib import Path
from typing import Annotated

import dagster as dg
import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns, schema_of
from convergence_assets.semantic_search.arrivals import JAVA, SIMULATED, history
from convergence_assets.semantic_search.contracts import MODALITIES
from resources.lake import Described, lake_asset

MODELS = {"key_prefix": "semantic_search", "group_name": "semantic_search_models", "owners": ["team:semantic_search"]}
_COSQA = "semantic_search/cosqa_dev_queries.parquet"


class JudgedQuery(pa.DataFrameModel):
    """A query with its right answers."""

    query_set: str = pa.Field(description="cosqa, concode, captions or images")
    query_id: str = pa.Field(unique=True, description="The query")
    query: str = pa.Field(description="Its words")
    modality: str = pa.Field(isin=MODALITIES, description="What is searched")
    language: str = pa.Field(nullable=True, description="Of the candidates; null: all of the modality")
    relevant: Annotated[pl.List, pl.String] = pa.Field(description="Items that are right answers")
    without: Annotated[pl.List, pl.String] = pa.Field(description="Items that are no candidates: the query itself")
    cluster: str = pa.Field(description="What the query is about: queries of one cluster are never in both halves")
    split: str = pa.Field(isin=["development", "test"], description="Which half it is in")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": "queries and right answers as published"}


def split_of(cluster: str) -> str:
    """The half that a cluster of queries is in, drawn by its hash."""
    return "development" if sha256(cluster.encode()).digest()[0] % 2 else "test"


def published(data: Path) -> pl.DataFrame:
    """JudgedQuery rows of the published sets."""
    cosqa = pl.scan_parquet(data / _COSQA).select(
        query_set=pl.lit("cosqa"), query_id="idx", query="query", modality=pl.lit("code"), language=pl.lit("python"),
        relevant=pl.concat_list(pl.format("python-{}", "retrieval_idx")), without=_none(), cluster="idx",
    )  # fmt: skip
    java = pl.scan_parquet(data / JAVA).with_columns(
        alike=pl.format("java-{}", "row").implode().over("nl", mapping_strategy="join")
    )
    concode = java.select(
        query_set=pl.lit("concode"), query_id=pl.format("concode-{}", "row"), query="nl", modality=pl.lit("code"),
        language=pl.lit("java"),
        relevant="alike", without=_none(), cluster=pl.col("nl"),
    )  # fmt: skip
    return pl.concat([cosqa, concode]).collect()


def of_captions(messages: pl.DataFrame) -> pl.DataFrame:
    """JudgedQuery rows of captions: every caption finds its image; the first of an image finds the others of it."""
    captions = messages.filter(pl.col("parent_id").is_not_null()).sort("item_id")
    images = captions.select(
        query_set=pl.lit("images"), query_id=image_query("item_id"), query="text", modality=pl.lit("image"),
        language=_any(),
        relevant=pl.concat_list("parent_id"), without=_none(), cluster="parent_id",
    )  # fmt: skip
    texts = captions.group_by("parent_id", maintain_order=True).agg(
        pl.col("item_id", "text").first(), others=pl.col("item_id").slice(1)
    )
    return pl.concat([images, texts.filter(pl.col("others").list.len() > 0).select(
        query_set=pl.lit("captions"), query_id=pl.format("{}-text", "item_id"), query="text", modality=pl.lit("text"),
        language=_any(),
        relevant="others", without=pl.concat_list("item_id"), cluster="parent_id",
    )])  # fmt: skip


def image_query(caption_id: str) -> pl.Expr:
    """The id of the query that a caption is for its image."""
    return pl.format("{}-image", caption_id)


def _any() -> pl.Expr:
    return pl.lit(None, pl.String)


def _none() -> pl.Expr:
    return pl.lit([], dtype=pl.List(pl.String))


def of_documentation(messages: pl.DataFrame) -> pl.DataFrame:
    """JudgedQuery rows of simulated functions: what their documentation says finds them."""
    return messages.filter(pl.col("modality") == "code").select(
        query_set=pl.lit("cosqa"), query_id=pl.format("{}-query", "item_id"), query="text", modality=pl.lit("code"),
        language="language",
        relevant=pl.concat_list("item_id"), without=_none(), cluster="item_id",
    )  # fmt: skip


def judged(data: Path | None) -> tuple[pl.DataFrame, str]:
    """JudgedQuery rows, and their origin."""
    messages, origin = history(data)
    rows = messages.collect()
    parts = [of_captions(rows), of_documentation(rows) if origin == SIMULATED or data is None else published(data)]
    found = pl.concat(parts).with_columns(split=pl.col("cluster").map_elements(split_of, return_dtype=pl.String))
    return found.select(schema_of(JudgedQuery).names()).sort("query_set", "query_id"), origin


@lake_asset(
    contract=JudgedQuery,
    describe=lambda rows: dict(rows.group_by("query_set").len().sort("query_set").iter_rows()),
    required_resource_keys={"published"},
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "dataset", "not_partitioned": "queries-have-no-calendar"},
    **MODELS,
)
def judged_queries(context: dg.AssetExecutionContext) -> Described:
    """Queries with their right answers, half to develop on and half to test with.

    Grain: query. CoSQA's web queries and CONCODE's sentences find functions, captions find their image and each other.
    Halves are drawn by image, by query and by sentence, so that no image or sentence is in both.
    """
    rows, origin = judged(context.resources.published.root)
    return Described(rows, origins=[origin])
