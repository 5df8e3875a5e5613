"""Code search by one model and by two side by side: what each finds of CoSQA and CONCODE, alone and fused with BM25."""

from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import Row, Section, seconds
from convergence.lake.contracts import schema_of
from convergence.search.checkpoints import DEFAULT_TEXT, exported
from convergence.search.composition import content, words
from convergence.search.corpus import Corpus
from convergence.search.encoders import Precision, StoredEncoder, opened
from convergence.search.judgements import interval, measured
from convergence_assets.semantic_search.arrivals import history
from convergence_assets.semantic_search.contracts import Embedding
from convergence_assets.semantic_search.embeddings import embedded
from convergence_assets.semantic_search.encoders import MAX_TOKENS
from convergence_assets.semantic_search.evaluation import DENSE, FUSED, SPARSE, fusions_of, placings
from convergence_assets.semantic_search.items import item_rows
from convergence_assets.semantic_search.judged import judged
from convergence_assets.semantic_search.training import OutOfFold, learned
from convergence_assets.semantic_search.world import World
from resources.environments import settings

TITLE = "Code search by two models"
TWO = f"{DEFAULT_TEXT}+jar:bge-small-en-v1.5"
ENCODERS: list[tuple[str, Precision]] = [(DEFAULT_TEXT, "int8"), (TWO, "int8"), (TWO, "fp32")]
ALONE, GAIN = 0.54, 0.02  # goals on CoSQA: MRR of the best ranking alone, and of fusion above it


def section(*, quick: bool) -> Section:
    """The default encoder, then two models: each query by a fusion that was learned on the half it is not in."""
    data = settings().published_data
    queries = judged(data)[0].filter(pl.col("modality") == "code")
    rows = []
    for checkpoint, precision in ENCODERS:
        encoder = exported(checkpoint, role="code", precision=precision, max_tokens=MAX_TOKENS)
        named = f"{encoder.name} {precision}"
        world, spent = made(data, encoder, 500 if quick else None)
        rows.append(Row(f"{named}: {len(world.corpora['code'].item_ids):,} functions encoded",
                        f"{spent:.0f} s of CPU", "", "", ""))  # fmt: skip
        for name in ("cosqa", "concode"):
            rows += compared(name, named, *reciprocal_ranks(world, queries, name))
    return Section(
        TITLE,
        "CoSQA's 500 web queries and CONCODE's 2,000 sentences, each with one right function, among all functions of "
        "their language. The weights of two models are measured on eight texts, with no judged query; the share "
        "of BM25 is learned on one half of the queries and judged on the other, and the other way round. Reference: "
        "the best ranking that is one model or BM25 alone. Mean reciprocal rank, in brackets the 95 % interval of the "
        "paired difference.",
        rows,
    )


def made(data: Path | None, encoder: StoredEncoder, most: int | None) -> tuple[World, float]:
    """A world of functions alone, and the seconds of CPU that encoding them took."""
    messages = history(data)[0].filter(pl.col("modality") == "code")
    arrived = messages.with_columns(
        event_date=pl.col("time").dt.date(), event_time="time", arrived_at="time", source=pl.lit("0"), offset=0
    )
    code = item_rows(arrived if most is None else arrived.head(most)).collect()
    model, (_, began) = opened(encoder), seconds()
    points, _ = embedded(
        code, "code", encoder.digest, pl.DataFrame(schema=schema_of(Embedding)),
        lambda rows: model.encode_documents([content(row) for row in rows]), words,
    )  # fmt: skip
    corpus = Corpus.of(points)
    return World({"code": corpus}, {"code": encoder}, pl.DataFrame(schema=schema_of(OutOfFold))), seconds()[1] - began


def reciprocal_ranks(world: World, queries: pl.DataFrame, name: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """Of each way to rank, over all queries of a set, and their clusters: each half by what the other has taught."""
    found: dict[str, list[np.ndarray]] = {}
    clusters: list[str] = []
    for learning in ("development", "test"):
        halves = queries.with_columns(
            split=pl.when(pl.col("split") == learning).then(pl.lit("development")).otherwise(pl.lit("test"))
        )
        held = world.answerable(halves.filter((pl.col("split") == "test") & (pl.col("query_set") == name)))
        judged_half = placings(world, fusions_of(learned(world, halves)), held)
        clusters += judged_half[FUSED].clusters
        for candidate, placed in judged_half.items():
            found.setdefault(candidate, []).append(measured(placed.at)["mrr"].to_numpy())
    return {candidate: np.concatenate(parts) for candidate, parts in found.items()}, clusters


def compared(name: str, encoder: str, found: dict[str, np.ndarray], clusters: list[str]) -> list[Row]:
    """Each ranking alone, then the best of them beside the fused one."""
    models = [candidate for candidate in found if candidate.startswith(f"{DENSE}:")]
    alone = {c: values for c, values in found.items() if c in (models or [DENSE]) or c == SPARSE}
    best = max(alone, key=lambda c: float(alone[c].mean()))
    gain, low, high = interval(found[FUSED] - alone[best], clusters=clusters)
    goal = name == "cosqa"
    rows = [
        Row(f"{name}, {encoder}: {c}", f"{values.mean():.3f}", "", "", "",
            *((f"≥ {ALONE}", bool(values.mean() >= ALONE)) if goal and c == best else ("", None)))
        for c, values in found.items() if c != FUSED
    ]  # fmt: skip
    return [*rows, Row(
        f"{name}, {encoder}: fused", f"{found[FUSED].mean():.3f}", f"{alone[best].mean():.3f} ({best})",
        f"{gain:+.3f} [{low:+.3f}, {high:+.3f}]", "", f"≥ +{GAIN}" if goal else "", gain >= GAIN if goal else None,
    )]  # fmt: skip
