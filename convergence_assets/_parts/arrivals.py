"""The assets of what arrives: for each declared topic its messages, and the table that they land in."""

import dagster as dg

from convergence.use_case import UseCase
from convergence_assets.partitions import daily
from resources.arrivals import landing_asset, topic_asset


def arrivals(use_case: UseCase) -> list[dg.AssetSpec | dg.AssetsDefinition]:
    """Topic and raw table of each topic of a use case."""
    owned = {"group_name": use_case.name, "owners": [use_case.owner]}
    return [
        asset
        for topic in use_case.topics
        for asset in (
            topic_asset(topic, **owned),
            landing_asset(topic, partitions_def=daily(topic.first_day, topic.last_day), **owned),
        )
    ]
