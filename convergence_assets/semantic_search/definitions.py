"""Semantic search as Dagster sees it."""

import dagster as dg

from asset_checks.gate import gate_check
from asset_checks.personal_data import personal_data_check
from convergence.search.use_case import SearchedUseCase
from convergence_assets.semantic_search import (
    embeddings,
    encoders,
    evaluation,
    images,
    index,
    items,
    judged,
    monitoring,
    release,
    training,
)
from convergence_assets.semantic_search.arrivals import TOPIC, items_topic, raw_items
from convergence_assets.semantic_search.pages import PAGES

__all__ = ["PAGES", "SEARCHED", "TOPIC", "defs"]

SEARCHED = SearchedUseCase(index.USE_CASE)

defs = dg.Definitions(
    assets=[
        items_topic,
        raw_items,
        *dg.load_assets_from_modules([items, images, judged, encoders, embeddings, training, evaluation]),
        *dg.load_assets_from_modules([index, release, monitoring]),
    ],
    asset_checks=[
        personal_data_check(items.search_items),
        evaluation.fusion_helps,
        gate_check(release.search_releases),
        monitoring.embedding_drift_alarm,
    ],
)
