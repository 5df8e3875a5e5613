"""How good search is on judged queries: each ranking alone, fused, and for images beside baselines.

Fusion is judged on the half that it was not learned from. Rankings that learned nothing are also judged on all queries,
by the protocol of published figures: the whole corpus, every query.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Any, NamedTuple

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl
from numpy.typing import NDArray

from convergence.errors import EncoderMismatch
from convergence.lake.contracts import StrictColumns, schema_of
from convergence.lake.tables import Lake
from convergence.markdown import table
from convergence.search import composition, ranking
from convergence.search.encoders import StoredEncoder
from convergence.search.fusion import Fusion
from convergence.search.judgements import MEASURES, interval, measured, paired, places
from convergence.search.ranking import Judged
from convergence_assets.semantic_search.contracts import MODALITIES
from convergence_assets.semantic_search.judged import MODELS
from convergence_assets.semantic_search.training import CLASSES, HISTOGRAM, RIDGE, ranker_of, world_ins
from convergence_assets.semantic_search.world import World
from resources.lake import failures, lake_asset

DENSE, SPARSE, FUSED, RANDOM = "dense", "sparse", "fused", "random"
_PARTS = (DENSE, SPARSE)
ENOUGH = 100  # queries, for a loss to block
_GAIN = ("fused_gain", "fused_gain_error")


class SearchQuality(pa.DataFrameModel):
    """One way of ranking, on one judged set."""

    query_set: str = pa.Field(description="cosqa, concode, captions or images")
    candidate: str = pa.Field(description="What ranks")
    split: str = pa.Field(isin=["test", "all"], description="The half not learned from, or every query")
    queries: int = pa.Field(gt=0, description="Queries judged")
    candidates: int = pa.Field(gt=0, description="Items that each could find")
    mrr: float = pa.Field(ge=0, le=1, description="Mean reciprocal rank of the first right answer")
    mrr_low: float = pa.Field(ge=0, le=1, description="Lower end of its 95 % interval, bootstrap by cluster")
    mrr_high: float = pa.Field(ge=0, le=1, description="Upper end of its 95 % interval")
    ndcg_10: float = pa.Field(ge=0, le=1, description="Mean nDCG of the first ten")
    ndcg_10_low: float = pa.Field(ge=0, le=1, description="Lower end of its 95 % interval")
    ndcg_10_high: float = pa.Field(ge=0, le=1, description="Upper end of its 95 % interval")
    recall_1: float = pa.Field(ge=0, le=1, description="Right answers found first")
    recall_1_low: float = pa.Field(ge=0, le=1, description="Lower end of its 95 % interval")
    recall_1_high: float = pa.Field(ge=0, le=1, description="Upper end of its 95 % interval")
    recall_5: float = pa.Field(ge=0, le=1, description="Right answers among the first five")
    recall_5_low: float = pa.Field(ge=0, le=1, description="Lower end of its 95 % interval")
    recall_5_high: float = pa.Field(ge=0, le=1, description="Upper end of its 95 % interval")
    recall_10: float = pa.Field(ge=0, le=1, description="Right answers among the first ten")
    recall_10_low: float = pa.Field(ge=0, le=1, description="Lower end of its 95 % interval")
    recall_10_high: float = pa.Field(ge=0, le=1, description="Upper end of its 95 % interval")

    fused_gain: float = pa.Field(
        nullable=True, ge=-1, le=1, description="nDCG@10 of fusion less this one, on the same queries; null: not fused"
    )
    fused_gain_error: float = pa.Field(
        nullable=True, ge=0, description="Its standard error over clusters; null: not fused, or one cluster"
    )

    ranking: str = pa.Field(
        description="SHA-256 of the encoders and fusions that were judged: an index of others was not",
        metadata={"from": [*(f"{m}_encoder.digest" for m in MODALITIES), "search_rankers.fusion"]},
    )

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["search_rankers.fusion", "judged_queries.*", "*"]}


def quality(world: World, rankers: Mapping[str, Fusion], queries: pl.DataFrame) -> pl.DataFrame:
    """SearchQuality rows: on the test half each part and the fusion, on all queries each part and the baselines.

    Where an encoder is several models, each of them alone is a part, too.
    """
    rows = []
    known = world.answerable(queries)
    for (name,), whole in known.sort("query_set", "query_id").partition_by("query_set", as_dict=True).items():
        test = whole.filter(pl.col("split") == "test")
        placed = placings(world, rankers, test) if test.height else {}
        rows += [_row(str(name), c, "test", of) | _gain(placed[FUSED], of) for c, of in placed.items()]
        judged = world.judged(whole)
        ways = {part: getattr(judged, part) for part in _PARTS}
        if (whole["modality"] == "image").all():
            ways |= _baselines(world, whole, judged.dense.shape)
        ways |= {model_alone(model): world.dense(whole, model) for model in _models(world, whole)}
        for candidate, scores in ways.items():
            rows.append(_row(str(name), candidate, "all", _placed(judged, scores, whole)) | dict.fromkeys(_GAIN))
    made = pl.DataFrame(rows, schema=schema_of(SearchQuality)).sort("query_set", "split", "candidate")
    return made.with_columns(ranking=pl.lit(ranking_of(world.encoders, rankers)))


class Placed(NamedTuple):
    """Where a ranking places the right answers of each query, among how many items, and what each query is about."""

    at: list[NDArray[np.int64]]
    items: int
    clusters: list[str]


def placings(world: World, rankers: Mapping[str, Fusion], test: pl.DataFrame) -> dict[str, Placed]:
    """Each ranking alone and the fused one, each query by the ranker that answers it."""
    found = defaultdict[str, list[Placed]](list)
    for (ranker,), part in test.with_columns(ranker_of(test, rankers)).partition_by("ranker", as_dict=True).items():
        fusion, judged = rankers[str(ranker)], world.judged(part)
        for candidate, of in {DENSE: _alone(fusion, 0.0), SPARSE: _alone(fusion, 1.0), FUSED: fusion}.items():
            found[candidate].append(_placed(judged, ranking.fused(judged, of), part))
        for model in _models(world, part):
            found[model_alone(model)].append(_placed(judged, world.dense(part, model), part))
    return {
        candidate: Placed([at for p in parts for at in p.at], parts[0].items, [c for p in parts for c in p.clusters])
        for candidate, parts in found.items()
    }


def _models(world: World, queries: pl.DataFrame) -> list[str]:
    return world.models(queries["modality"][0])


def model_alone(name: str) -> str:
    """What the ranking by one of an encoder's models is called."""
    return f"{DENSE}: {name} alone"


def _placed(judged: Judged, scores: ranking.Floats, queries: pl.DataFrame) -> Placed:
    at = places(scores, judged.relevant, judged.without)
    return Placed(at, scores.shape[1], queries["cluster"].to_list())


def _alone(fusion: Fusion, share: float) -> Fusion:
    return Fusion(1 - share, share, fusion.dense_scale, fusion.sparse_scale, fusion.calibration)


def _baselines(world: World, queries: pl.DataFrame, shape: tuple[int, ...]) -> dict[str, ranking.Floats]:
    """Scores by other ways into the space of the text encoder, and by chance."""
    there = set(world.unseen["candidate"].unique())
    found = {c: world.dense(queries, c) for c in (CLASSES, RIDGE, HISTOGRAM) if c in there}
    return {**found, RANDOM: np.random.default_rng(0).random(shape)}


def _row(name: str, candidate: str, split: str, found: Placed) -> dict[str, Any]:
    values, told = measured(found.at), {}
    for measure in MEASURES:
        mean, low, high = interval(values[measure].to_numpy(), clusters=found.clusters)
        told |= {measure: mean, f"{measure}_low": min(low, mean), f"{measure}_high": max(high, mean)}
    counts = {"queries": len(found.at), "candidates": found.items}
    return {"query_set": name, "candidate": candidate, "split": split, **counts, **told}


def _gain(fused: Placed, other: Placed) -> dict[str, float | None]:
    """What fusion finds more than another ranking of the same queries, and how sure that is."""
    more = measured(fused.at)["ndcg_10"] - measured(other.at)["ndcg_10"]
    return dict(zip(_GAIN, paired(more.to_numpy(), other.clusters), strict=True))


def _shown(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows: the table, and the fused figures as numbers."""
    names = ("query_set", "split", "candidate", "queries", "candidates")
    lines = [
        (*(r[n] for n in names), *(f"{r[m]:.3f} [{r[f'{m}_low']:.3f}, {r[f'{m}_high']:.3f}]" for m in MEASURES))
        for r in rows.iter_rows(named=True)
    ]
    fused = rows.filter(candidate=FUSED).select("query_set", "ndcg_10")
    numbers = {f"ndcg_10_{name}": value for name, value in fused.iter_rows()}
    return {**numbers, "quality": dg.MetadataValue.md(table((*names, *MEASURES), lines))}


@lake_asset(
    contract=SearchQuality,
    ins={**world_ins(), "search_rankers": dg.AssetIn(key_prefix="semantic_search")},
    describe=_shown,
    metadata={"key_metric": "ndcg_10"},
    code_version="3",
    kinds={"scikitlearn", "deltalake"},
    tags={"layer": "evaluation", "not_partitioned": "judged-queries-have-no-calendar"},
    **MODELS,
)
def search_quality(
    text_embeddings: pl.LazyFrame,
    code_embeddings: pl.LazyFrame,
    image_embeddings: pl.LazyFrame,
    text_encoder: pl.LazyFrame,
    code_encoder: pl.LazyFrame,
    image_encoder: pl.LazyFrame,
    image_out_of_fold: pl.LazyFrame,
    judged_queries: pl.LazyFrame,
    search_rankers: pl.LazyFrame,
) -> pl.DataFrame:
    """Reciprocal rank, nDCG and recall of every way to rank, on every judged set.

    Grain: judged set, way to rank, half. Images are as alignments see them that have not seen them. A fusion is learned
    from the development half and judged on the other; what it is made of is beside it.
    """
    points = {"text": text_embeddings, "code": code_embeddings, "image": image_embeddings}
    encoders = {"text": text_encoder, "code": code_encoder, "image": image_encoder}
    world = World.of(points, encoders, image_out_of_fold)
    return quality(world, fusions_for(search_rankers.collect(), world.encoders), judged_queries.collect())


def fusions_of(rankers: pl.DataFrame) -> dict[str, Fusion]:
    """The fusion of each ranker, from SearchRanker rows, in the order in which rankers are declared."""
    found = {name: Fusion.from_json(json.loads(said)) for name, said in rankers.select("ranker", "fusion").iter_rows()}
    return {name: found[name] for name in composition.RANKERS if name in found}


def fusions_for(rankers: pl.DataFrame, encoders: Mapping[str, StoredEncoder]) -> dict[str, Fusion]:
    """The fusion of each ranker, where it was learned with these encoders.

    Raises EncoderMismatch where it was learned with others: its scales and its calibration would say nothing.
    """
    known = dict(rankers.select("modality", "encoder").iter_rows()) if "encoder" in rankers.columns else {}
    if others := [name for name, encoder in encoders.items() if known.get(name) != encoder.digest]:
        raise EncoderMismatch(
            f"search_rankers were learned with another encoder of {' and '.join(others)} than is there now: "
            "materialize search_rankers, then search_quality; the index that is live stays as it is"
        )
    return fusions_of(rankers)


def ranks(encoders: Mapping[str, StoredEncoder], fusions: Mapping[str, Fusion]) -> dict[str, Any]:
    """What ranks, for JSON: encoders by modality, fusions by ranker, and how words are weighted."""
    return {
        "encoders": {name: encoder.digest for name, encoder in encoders.items()},
        "fusions": {name: fusion.as_json() for name, fusion in fusions.items()},
        "sparse": {name: asdict(terms) for name, terms in composition.TERMS.items()},
    }


def ranking_of(encoders: Mapping[str, StoredEncoder], fusions: Mapping[str, Fusion]) -> str:
    """The SHA-256 of what ranks: an index and what it was judged by have the same."""
    return sha256(json.dumps(ranks(encoders, fusions), sort_keys=True).encode()).hexdigest()


@dg.asset_check(
    asset=search_quality,
    blocking=True,
    required_resource_keys={"lake"},
    description="On no judged set does the fused ranking find less than the best of those that it is made of.",
)
def fusion_helps(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Blocks where fusion loses: an index must not be worse than what it is made of."""
    lake: Lake = context.resources.lake.lake
    with failures():
        rows = lake.scan("semantic_search/search_quality").collect()
    return helped(rows)


def helped(rows: pl.DataFrame) -> dg.AssetCheckResult:
    """The verdict on SearchQuality rows: of the test half of each set, what fusion has more than each of its parts.

    A loss on fewer than ENOUGH queries only warns: chance alone moves so few by more than fusion does.
    """
    if "fused_gain" not in rows.columns:
        return _not_judged("search_quality was made before gains were kept")
    test = rows.filter(split="test")
    parts = test.filter(pl.col("candidate") != FUSED).sort("query_set", "fused_gain", nulls_last=True)
    fused = test.filter(candidate=FUSED)["query_set"]
    if parts.is_empty() or parts["fused_gain"].has_nulls() or set(rows["query_set"]) - set(fused):
        return _not_judged("not every judged set has a fused ranking")
    losses = parts.filter(pl.col("fused_gain") < -1e-9)
    blocks = not losses.filter(pl.col("queries") >= ENOUGH).is_empty()
    said = [
        f"{name} loses {-gain:.4f} on {queries} queries against {candidate}"
        + ("" if error is None else f" (standard error {error:.4f})")
        for name, gain, queries, candidate, error in losses.select(
            "query_set", "fused_gain", "queries", "candidate", "fused_gain_error"
        ).iter_rows()
    ]
    least = parts.group_by("query_set", maintain_order=True).agg(pl.col("fused_gain").min())
    return dg.AssetCheckResult(
        passed=not said,
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        description=f"{'; '.join(said)}. Next: read search_rankers' report, and judge more queries" if said else None,
        metadata={f"gain_{name}": gain for name, gain in least.iter_rows()},
    )


def _not_judged(said: str) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, description=f"{said}. Next: materialize search_quality")
