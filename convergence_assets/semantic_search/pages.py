"""The numbers of the search page, from the tables of one lake: `convergence docs` writes them."""

import json
from typing import Any

import polars as pl

from convergence.lake.manifests import manifest
from convergence.lake.tables import Lake
from convergence.markdown import table
from convergence.search.judgements import MEASURES
from convergence_assets.semantic_search.evaluation import DENSE, RANDOM, SPARSE
from convergence_assets.semantic_search.training import CLASSES, HISTOGRAM, RIDGE

_MEASURES = dict(zip(MEASURES, ("MRR", "nDCG@10", "recall@1", "recall@5", "recall@10"), strict=True))
_IMAGES = {RANDOM: "chance", HISTOGRAM: HISTOGRAM, CLASSES: CLASSES, RIDGE: RIDGE, DENSE: "aligned: both of them"}
_ENCODERS = ("text", "code", "image")


def numbers(lake: Lake) -> dict[str, str]:
    """The value of each marker. Raises TableMissing, naming what to materialize, where the lake has no such table."""
    quality = lake.scan("semantic_search/search_quality").collect()
    return {
        "search_run": run(lake),
        "search_quality": parts(quality),
        "search_whole": whole(quality),
        "search_images": images(quality),
        "search_fusion": fusion(lake.scan("semantic_search/search_rankers").collect()),
        "search_encoders": encoders(lake),
        "search_index": index(lake.scan("semantic_search/search_index").collect()),
    }


def run(lake: Lake) -> str:
    """When, by which code and on which data quality was judged."""
    made = manifest(lake, "semantic_search/search_quality", "")
    return f"{made['committed_at'][:10]}, code revision {made['revision'][:7]}, data {'; '.join(made['origins'])}"


def _told(row: dict[str, Any], measures: tuple[str, ...] = MEASURES) -> list[str]:
    return [f"{row[m]:.3f} [{row[f'{m}_low']:.3f}, {row[f'{m}_high']:.3f}]" for m in measures]


def parts(quality: pl.DataFrame) -> str:
    """Each judged set's test half: each ranking alone and their fusion."""
    rows = quality.filter(split="test").sort("query_set", "candidate")
    lines = [(r["query_set"], r["queries"], r["candidate"], *_told(r)) for r in rows.iter_rows(named=True)]
    return table(("judged set", "queries", "ranking", *_MEASURES.values()), lines)


def whole(quality: pl.DataFrame) -> str:
    """Rankings that learn nothing on every query of each set, by the protocol of published figures."""
    learns_nothing = (pl.col("candidate") == SPARSE) | pl.col("candidate").str.starts_with(DENSE)
    rows = quality.filter(pl.col("split") == "all", learns_nothing).sort("query_set", "candidate")
    lines = [
        (r["query_set"], r["queries"], f"{r['candidates']:,}", r["candidate"], *_told(r))
        for r in rows.iter_rows(named=True)
    ]
    return table(("judged set", "queries", "candidates", "ranking", *_MEASURES.values()), lines)


def images(quality: pl.DataFrame) -> str:
    """Captions that find their image, by ways into the space of words."""
    of = {r["candidate"]: r for r in quality.filter(query_set="images", split="all").iter_rows(named=True)}
    lines = [(said, *_told(of[name])) for name, said in _IMAGES.items() if name in of]
    return table(("images by", *_MEASURES.values()), lines)


def fusion(rankers: pl.DataFrame) -> str:
    """What was learned, and what other shares of the sparse ranking would have given on the development half."""
    shown = ("0.00", "0.10", "0.20", "0.30", "0.50", "1.00")
    lines = [
        (row["ranker"], name, f"{row['sparse_share']:.2f}", *(f"{report[share][name]:.3f}" for share in shown))
        for row in rankers.iter_rows(named=True)
        for report in [json.loads(row["report"])]
        for name in next(iter(report.values()))
    ]
    return table(("ranker", "judged set", "share of sparse", *(f"MRR at {s}" for s in shown)), lines)


def encoders(lake: Lake) -> str:
    """What encodes each modality."""
    lines = []
    for role in _ENCODERS:
        row = lake.scan(f"semantic_search/{role}_encoder").collect().row(0, named=True)
        size = (len(row["document_onnx"]) + len(row["query_onnx"] or b"")) / 1e6
        kept = "" if row["fidelity"] is None else f"{row['fidelity']:.4f}"
        lines.append((role, row["name"], row["source"], row["precision"], row["dimension"], f"{size:.1f} MB", kept))
    return table(("role", "model", "weights", "precision", "dimension", "size", "cosine to fp32"), lines)


def index(rows: pl.DataFrame) -> str:
    """The newest day's index."""
    row = rows.sort("event_date").row(-1, named=True)
    return (
        f"{row['texts']:,} texts, {row['functions']:,} functions and {row['images']:,} images on {row['event_date']}; "
        f"recall@10 of exact search {row['recall_10']:.3f}; nDCG@10 {row['ndcg_10']:.3f} of {row['judged']} judged "
        f"queries asked through the index ({row['backend']})"
    )
