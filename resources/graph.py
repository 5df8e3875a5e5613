"""The asset graph as the pure functions of `convergence.versions` see it: lake tables and who reads what of whom."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from graphlib import TopologicalSorter

import dagster as dg

from convergence.lake.tables import WHOLE
from convergence.versions.reconcile import Node
from resources.keys import table_of
from resources.partition_windows import upstream_reads


def lake_nodes(specs: Iterable[dg.AssetSpec]) -> list[Node]:
    """The lake tables among these assets, upstream first."""
    every = {spec.key: spec for spec in specs}
    tables = {key: spec for key, spec in every.items() if "dagster/table_name" in spec.metadata}
    order = TopologicalSorter({key: [d.asset_key for d in spec.deps] for key, spec in every.items()}).static_order()
    # Most assets share their partitions, and Dagster enumerates them anew for each. A live definition grows: the cache
    # lasts one call.
    keys, reads = cache(_keys), cache(upstream_reads)

    def node(spec: dg.AssetSpec) -> Node:
        mine = spec.partitions_def
        return Node(
            table=table_of(spec.key),
            partitions=keys(mine),
            upstream={
                table_of(dep.asset_key): reads(dep.partition_mapping, mine, tables[dep.asset_key].partitions_def)
                for dep in spec.deps
                if dep.asset_key in tables
            },
            code_version=spec.code_version or "",
            layer=spec.tags.get("layer", ""),
            steps=_marts(spec, every),
        )

    return [node(tables[key]) for key in order if key in tables]


def _marts(spec: dg.AssetSpec, every: Mapping[dg.AssetKey, dg.AssetSpec]) -> list[str]:
    """The models of the warehouse that an asset is published from, upstream first."""
    found: dict[str, None] = {}
    for dep in spec.deps:
        above = every.get(dep.asset_key)
        if above and above.tags.get("layer") == "mart":
            found |= dict.fromkeys([*_marts(above, every), table_of(above.key)])
    return list(found)


def _keys(definition: dg.PartitionsDefinition | None) -> Sequence[str]:
    return definition.get_partition_keys() if definition else [WHOLE]
