"""Semantic search as Dagster sees it."""

import dagster as dg

from asset_checks.gate import gate_check
from asset_checks.personal_data import personal_data_check
from convergence_assets._parts.arrivals import arrivals
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
from convergence_assets.semantic_search.use_case import USE_CASE

defs = dg.Definitions(
    assets=[
        *arrivals(USE_CASE),
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
