"""Whether what arrives still lies where it lay in the week before, in the space that is searched.

A modality is watched where an effect is large and is no accident of few items; with six hundred functions a day every
difference is significant, and with fifteen images hardly any is. The limit is the wider of the two.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl
from numpy.typing import NDArray

from asset_checks.drift import drift_check
from convergence.lake.contracts import StrictColumns, schema_of
from convergence.monitoring.drift import STABLE, WATCH
from convergence.search.drift import centroid_shift, neighbour_overlap
from convergence_assets.partitions import window
from convergence_assets.semantic_search.contracts import MODALITIES
from convergence_assets.semantic_search.items import DAILY
from resources.lake import lake_asset
from resources.lineage import using

REFERENCE_DAYS = 7
LEAST = 10  # items on each side: with fewer, chance alone can look like anything
LARGE_SHIFT, SMALL_OVERLAP = 0.05, 0.8  # effects that matter, however sure they are
LEVEL = 0.01 / (2 * len(MODALITIES))  # of a false alarm in a day at all: two effects of each modality (Bonferroni)
TOO_FEW, OTHER_ENCODER = "too few", "other encoder"


class EmbeddingDrift(pa.DataFrameModel):
    """How far a day's vectors of a modality are from those of the week before."""

    event_date: date = pa.Field(description="The day")
    modality: str = pa.Field(isin=MODALITIES, description="What was compared: text, code or image")
    verdict: str = pa.Field(
        isin=[STABLE, WATCH, TOO_FEW, OTHER_ENCODER],
        description="stable, watch (an effect is beyond its limit); too few, other encoder: nothing was compared",
    )
    effect: float = pa.Field(nullable=True, description="The larger effect in parts of its limit; above 1 it is drift")
    note: str = pa.Field(description="What is beyond its limit, or why nothing was compared; empty: neither")
    encoder: str = pa.Field(nullable=True, description="Digest of the graph that the day's vectors are of")
    same_encoder: bool = pa.Field(
        description="Whether all vectors of the week before are by it; those by another one are not compared"
    )
    items: int = pa.Field(ge=0, description="Items of the day; of those with one parent, the first")
    reference_items: int = pa.Field(ge=0, description="Items of the week before by the same encoder, counted alike")
    centroid_shift: float = pa.Field(nullable=True, description="1 - cosine between the centres of both")
    centroid_limit: float = pa.Field(nullable=True, description="What is drift above: chance, and at least 0.05")
    neighbour_overlap: float = pa.Field(
        nullable=True, ge=0, description="How well both are mixed: 1 as by chance, 0 where they are apart"
    )
    overlap_limit: float = pa.Field(nullable=True, description="What is drift below: chance, and at most 0.8")
    concentration: float = pa.Field(
        nullable=True, ge=0, le=1.001, description="Length of the mean of the day's vectors: 1 where all are equal"
    )
    reference_concentration: float = pa.Field(
        nullable=True, ge=0, le=1.001, description="The same of the week before; compared where it is known"
    )

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


def drift_rows(points: Mapping[str, pl.DataFrame], days: list[date]) -> pl.DataFrame:
    """EmbeddingDrift rows of these days, one per modality.

    Args:
        points: by modality, Embedding rows of the days and of the seven before the first.
        days: to be judged.
    """
    alone = {name: _one_of_each_parent(rows) for name, rows in points.items()}
    found = [
        {"event_date": day, "modality": name, **_compared(rows, day)} for name, rows in alone.items() for day in days
    ]
    return pl.DataFrame(found, schema=schema_of(EmbeddingDrift))


def _one_of_each_parent(rows: pl.DataFrame) -> pl.DataFrame:
    """Captions of one image say nearly the same: they are no five texts that chance could deal out one by one."""
    parent = pl.col("payload").str.json_path_match("$.parent_id")
    return rows.sort("item_id").unique(
        ["event_date", pl.coalesce(parent, "item_id")], keep="first", maintain_order=True
    )


def _compared(rows: pl.DataFrame, day: date) -> dict[str, Any]:
    current = rows.filter(event_date=day)
    week = rows.filter(pl.col("event_date").is_between(day - timedelta(days=REFERENCE_DAYS), day, closed="left"))
    before = week.sort("event_date").unique("item_id", keep="last", maintain_order=True)
    encoder = current["encoder"].first()
    known = before.filter(encoder=encoder) if encoder else before
    said = {"encoder": encoder, "same_encoder": known.height == before.height,
            "items": current.height, "reference_items": known.height}  # fmt: skip
    if min(current.height, known.height) < LEAST:
        other = known.height < LEAST <= min(current.height, before.height)
        note = (
            f"{before.height - known.height} of {before.height} items of the week before are by another encoder"
            if other
            else f"{current.height} items, {known.height} of the week before: at least {LEAST} of each are needed"
        )
        return said | {"verdict": OTHER_ENCODER if other else TOO_FEW, "note": note}
    return said | _effects(_vectors(known), _vectors(current))


def _vectors(rows: pl.DataFrame) -> NDArray[np.float32]:
    return np.array(rows["vector"].to_list(), np.float32)


def _effects(reference: NDArray[np.float32], current: NDArray[np.float32]) -> dict[str, Any]:
    shift, overlap = (one(reference, current, level=LEVEL) for one in (centroid_shift, neighbour_overlap))
    shift_limit, overlap_limit = max(shift.limit, LARGE_SHIFT), min(overlap.limit, SMALL_OVERLAP)
    parts = {
        "the centre has moved": shift.value / shift_limit,
        "neighbours are apart": (1 - overlap.value) / (1 - overlap_limit),
    }
    return {
        "verdict": WATCH if max(parts.values()) > 1 else STABLE,
        "effect": max(0.0, *parts.values()),
        "note": ", ".join(name for name, part in parts.items() if part > 1),
        "centroid_shift": shift.value,
        "centroid_limit": shift_limit,
        "neighbour_overlap": overlap.value,
        "overlap_limit": overlap_limit,
        "concentration": float(np.linalg.norm(current.mean(axis=0))),
        "reference_concentration": float(np.linalg.norm(reference.mean(axis=0))),
    }


def _said(rows: pl.DataFrame) -> dict[str, Any]:
    return {f"{row['modality']}_verdict": row["verdict"] for row in rows.iter_rows(named=True)}


@lake_asset(
    contract=EmbeddingDrift,
    partitions_def=DAILY,
    ins={
        f"{m}_embeddings": using(
            ("event_date", "item_id", "encoder", "vector", "payload"),
            key_prefix="semantic_search",
            partition_mapping=window(-REFERENCE_DAYS),
        )
        for m in MODALITIES
    },
    describe=_said,
    key_prefix="semantic_search",
    group_name="semantic_search_monitoring",
    owners=["team:semantic_search"],
    code_version="1",
    kinds={"polars", "deltalake"},
    tags={"layer": "monitoring"},
)
def embedding_drift(
    context: dg.AssetExecutionContext,
    text_embeddings: pl.LazyFrame,
    code_embeddings: pl.LazyFrame,
    image_embeddings: pl.LazyFrame,
) -> pl.DataFrame:
    """How far each day's vectors are from those of the week before.

    Grain: day and modality. Shift of the centre, and how well neighbours are mixed, each beside what chance makes of
    so many items, corrected for the six comparisons of a day. Vectors by another encoder are not compared: they differ
    whatever was encoded.
    """
    columns = ("event_date", "item_id", "encoder", "vector", "payload")
    frames = {"text": text_embeddings, "code": code_embeddings, "image": image_embeddings}
    points = {name: rows.select(columns).collect() for name, rows in frames.items()}
    return drift_rows(points, [date.fromisoformat(key) for key in context.partition_keys])


embedding_drift_alarm = drift_check(
    embedding_drift,
    name="embedding_drift_alarm",
    feature="modality",
    columns=("feature", "note", "effect", "centroid_shift", "centroid_limit", "neighbour_overlap", "overlap_limit"),
    next_step="Look at what the day holds: a source may have changed. Judged queries tell whether search suffers.",
)
