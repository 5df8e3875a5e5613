"""Semantic search as Dagster sees it."""

from datetime import timedelta

import dagster as dg

from asset_checks.gate import gate_check
from asset_checks.personal_data import personal_data_check
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

__all__ = ["FRESH", "PAGES", "TOPIC", "defs"]

# Where a live source is configured: how long after its last materialization a table is overdue.
FRESH = {"semantic_search/search_index": timedelta(hours=25)}

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
