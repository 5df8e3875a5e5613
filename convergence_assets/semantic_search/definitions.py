"""Semantic search as Dagster sees it."""

import dagster as dg

from asset_checks.personal_data import personal_data_check
from convergence_assets.semantic_search import embeddings, encoders, images, items, judged
from convergence_assets.semantic_search.arrivals import TOPIC, items_topic, raw_items

__all__ = ["TOPIC", "defs"]

defs = dg.Definitions(
    assets=[
        items_topic,
        raw_items,
        *dg.load_assets_from_modules([items, images, judged, encoders, embeddings]),
    ],
    asset_checks=[personal_data_check(items.search_items)],
)
