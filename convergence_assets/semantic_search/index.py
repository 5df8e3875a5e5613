"""The index of each day: everything found by then, built beside the live one from the day before, judged, switched to.

A snapshot is named by its content, so a day that brought nothing has the index of the day before, and the same day
built again is the same folder. The row remains for good; of the folders only the live one and the newest two do.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns, schema_of
from convergence.lake.tables import Lake
from convergence.search import composition
from convergence.search.backends import VectorIndex
from convergence.search.contents import version_of
from convergence.search.encoders import StoredEncoder, opened
from convergence.search.fusion import POOL, Fusion
from convergence.search.judgements import measured
from convergence.search.kept_encoders import keep
from convergence.search.recall import recall_at
from convergence.search.snapshots import Built, Snapshots
from convergence_assets.partitions import window
from convergence_assets.semantic_search.contracts import MODALITIES
from convergence_assets.semantic_search.encoders import encoder_of
from convergence_assets.semantic_search.evaluation import fusions_for, ranking_of, ranks
from convergence_assets.semantic_search.items import DAILY, OWNED, newest
from resources.lake import Described, lake_asset
from resources.lineage import using

USE_CASE = "semantic_search"
RETENTION_DAYS = 90  # an item that nobody sends again leaves the index after that
ONE_AT_A_TIME = "search_index"  # pool: each run removes the folders that it needs no longer
JUDGED = 50  # queries of the test half by modality that an index is tried with
_FROM: dict[str, Any] = {"key_prefix": USE_CASE}
_POINT = ("item_id", "event_date", "vector", "sparse_indices", "sparse_values", "payload", "language", "content_hash",
          "encoder")  # fmt: skip


class SearchIndex(pa.DataFrameModel):
    """The index as of the end of a day."""

    event_date: date = pa.Field(unique=True, description="The day")
    index_version: str = pa.Field(
        str_matches=r"^[0-9a-f]{64}$", description="SHA-256 of items, encoders, fusions and settings: its name"
    )
    texts: int = pa.Field(ge=0, description="Texts in it", metadata={"from": ["text_embeddings.item_id"]})
    functions: int = pa.Field(ge=0, description="Functions in it", metadata={"from": ["code_embeddings.item_id"]})
    images: int = pa.Field(ge=0, description="Images in it", metadata={"from": ["image_embeddings.item_id"]})
    encoders: str = pa.Field(description="Digest of the encoder of each modality, as JSON",
                             metadata={"from": [f"{m}_encoder.digest" for m in MODALITIES]})  # fmt: skip
    ranking: str = pa.Field(
        nullable=True, description="SHA-256 of its encoders and fusions, as search_quality has it; null: from before",
        metadata={"from": [*(f"{m}_encoder.digest" for m in MODALITIES), "search_rankers.fusion"]},
    )  # fmt: skip
    backend: str = pa.Field(description="Engine and version", metadata={"made_here": "what is installed"})
    recall_10: float = pa.Field(ge=0, le=1, description="Least share, over modalities, of the exact ten best found")
    judged: int = pa.Field(ge=0, description="Judged queries, all of whose right answers it holds, that it was asked")
    ndcg_10: float = pa.Field(ge=0, le=1, description="Their mean nDCG, through the index; 0 without any")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


def as_of(points: Mapping[str, pl.DataFrame], day: date) -> dict[str, pl.DataFrame]:
    """What an index holds at the end of a day: the newest of each item that is not too old, as what it was sent last.

    An item that is sent again as another modality is no longer what it was.
    """
    since = day - timedelta(days=RETENTION_DAYS - 1)
    sent = pl.concat([rows.with_columns(modality=pl.lit(name)) for name, rows in points.items()])
    held = newest(sent.lazy().filter(pl.col("event_date").is_between(since, day))).collect()
    return {name: held.filter(pl.col("modality") == name).select(_POINT) for name in points}


class Trial:
    """Judged queries of the test half, encoded once, that every index is asked before it is taken for one."""

    def __init__(
        self, queries: pl.DataFrame, encoders: Mapping[str, StoredEncoder], fusions: Mapping[str, Fusion]
    ) -> None:
        test = queries.filter(pl.col("split") == "test").sort("query_id")
        self._queries = {m: test.filter(pl.col("modality") == m).gather_every(_step(test, m)) for m in encoders}
        self._vectors = {
            m: opened(encoders[m]).encode_queries(of["query"].to_list()) for m, of in self._queries.items() if of.height
        }
        self._fusions = fusions

    def __call__(self, points: Mapping[str, pl.DataFrame], indexes: Mapping[str, VectorIndex]) -> dict[str, Any]:
        """`recall_10`, `judged` and `ndcg_10` of an index of these points."""
        recalls, gains = [1.0], []
        for modality, index in indexes.items():
            if modality not in self._vectors:
                continue
            ids, vectors = points[modality]["item_id"].to_list(), points[modality]["vector"].to_list()
            recalls.append(
                recall_at(index, ids, np.asarray(vectors, np.float32), self._vectors[modality], min(10, len(ids)))
            )
            gains += self._gains(modality, index, set(ids))
        return {
            "recall_10": round(min(recalls), 4),
            "judged": len(gains),
            "ndcg_10": round(float(np.mean(gains)), 6) if gains else 0.0,
        }

    def _gains(self, modality: str, index: VectorIndex, there: set[str]) -> Iterator[float]:
        rows = self._queries[modality].select("query", "relevant", "without").iter_rows()
        for vector, (query, relevant, without) in zip(self._vectors[modality], rows, strict=True):
            if not there.issuperset(relevant):
                continue
            terms = composition.TERMS[modality].query(composition.words_of_query(query))
            ranker = composition.ranker(modality, query, self._fusions)
            dense, sparse = index.dense(vector.tolist(), POOL), index.sparse(*terms, POOL)
            scores = [{h.item_id: h.score for h in hits if h.item_id not in without} for hits in (dense, sparse)]
            ranked = [one.item_id for one in self._fusions[ranker].fused(*scores)]
            at = np.array([n for n, item in enumerate(ranked, 1) if item in relevant] or [len(ranked) + POOL])
            yield measured([at])["ndcg_10"].item()


def _asked_again(
    snapshots: Snapshots, version: str, points: Mapping[str, pl.DataFrame], trial: Trial
) -> Mapping[str, Any]:
    """The checks of an index that was there already: the judged queries may be others than when it was built."""
    with snapshots.opened(version) as there:
        return trial(points, there.indexes)


def _step(queries: pl.DataFrame, modality: str) -> int:
    return max(1, queries.filter(pl.col("modality") == modality).height // JUDGED)


def released_next(lake: Lake) -> list[str]:
    """The version of the newest day so far, which may not be live yet: whoever makes older days leaves it in place."""
    if lake.open(f"{USE_CASE}/search_index") is None:
        return []
    return lake.scan(f"{USE_CASE}/search_index").sort("event_date").tail(1).collect()["index_version"].to_list()


def _said(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of an index: how much it holds, and how it answered."""
    row = rows.row(0, named=True)
    names = ("index_version", "texts", "functions", "images", "recall_10", "ndcg_10", "judged", "backend", "encoders")
    return {name: row[name] for name in names}


def index_ins() -> dict[str, dg.AssetIn]:
    """Embeddings of the days that an index holds, encoders, fusions, and queries to try it with."""
    days = window(1 - RETENTION_DAYS)
    return {
        **{f"{m}_embeddings": dg.AssetIn(**_FROM, partition_mapping=days) for m in MODALITIES},
        **{f"{m}_encoder": using(("digest",), **_FROM) for m in MODALITIES},
        "search_rankers": using(("fusion", "encoder"), **_FROM),
        "judged_queries": dg.AssetIn(**_FROM),
    }


@lake_asset(
    contract=SearchIndex,
    partitions_def=DAILY,
    ins=index_ins(),
    describe=_said,
    metadata={"key_metric": "ndcg_10"},
    required_resource_keys={"indexes"},
    pool=ONE_AT_A_TIME,
    code_version="2",
    kinds={"qdrant", "deltalake"},
    tags={"layer": "index"},
    **OWNED,
)
def search_index(
    context: dg.AssetExecutionContext,
    text_embeddings: pl.LazyFrame,
    code_embeddings: pl.LazyFrame,
    image_embeddings: pl.LazyFrame,
    text_encoder: pl.LazyFrame,
    code_encoder: pl.LazyFrame,
    image_encoder: pl.LazyFrame,
    search_rankers: pl.LazyFrame,
    judged_queries: pl.LazyFrame,
) -> Described:
    """The index as of the end of each day: texts, functions, images, their vectors.

    Grain: day. Built by copying the index of the day before and applying the difference, beside the live one; asked
    judged queries before it is kept, and compared with exact search. An item that is sent again counts as it was sent
    last. search_releases decides whether it goes live.
    """
    encoders = {
        "text": encoder_of(text_encoder), "code": encoder_of(code_encoder), "image": encoder_of(image_encoder),
    }  # fmt: skip
    fusions = fusions_for(search_rankers.collect(), encoders)
    ranking = ranking_of(encoders, fusions)
    for encoder in encoders.values():
        keep(context.resources.lake.lake.store, encoder)
    frames = {"text": text_embeddings, "code": code_embeddings, "image": image_embeddings}
    points = {name: rows.collect() for name, rows in frames.items()}
    trial = Trial(judged_queries.collect(), encoders, fusions)
    told = {"use_case": USE_CASE, **ranks(encoders, fusions)}  # all of it is part of the version
    snapshots: Snapshots = context.resources.indexes.snapshots(USE_CASE)
    backend = "{name} {version}".format(**snapshots.engine)
    context.log.info(f"index engine: {backend}")
    versions: list[str] = [live.version] if (live := snapshots.live()) else []
    rows, days = [], {}
    for key in context.partition_keys:
        held = as_of(points, date.fromisoformat(key))
        version = version_of(held, told)
        previous = versions[-1] if versions else None
        built: Built = snapshots.build(
            version, held, told, previous, check=lambda indexes, held=held: trial(held, indexes)
        )
        said = snapshots.about(version)
        counts = said["counts"]
        checks = _asked_again(snapshots, version, held, trial) if built.reused else said["checks"]
        rows.append(
            {
                "event_date": date.fromisoformat(key),
                "index_version": version,
                "texts": counts.get("text", 0),
                "functions": counts.get("code", 0),
                "images": counts.get("image", 0),
                "encoders": json.dumps(said["encoders"]),
                "ranking": ranking,
                "backend": backend,
                **{name: checks[name] for name in ("recall_10", "judged", "ndcg_10")},
            }
        )
        context.log.info(f"{key}: index {version[:12]}, {built.upserted} written, {built.deleted} removed")
        days[key] = {"items_written": built.upserted, "items_removed": built.deleted, "reused": built.reused}
        versions.append(version)
        snapshots.prune(*versions[-2:], *released_next(context.resources.lake.lake))
    return Described(pl.DataFrame(rows, schema=schema_of(SearchIndex)), days)
