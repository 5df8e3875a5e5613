"""The asset graph as the pure functions of `convergence.versions` see it: lake tables and who reads what of whom."""

from collections.abc import Iterable
from graphlib import TopologicalSorter

import dagster as dg

from convergence.lake.tables import WHOLE
from convergence.versions.reconcile import Node
from resources.lake import table_of
from resources.partition_windows import upstream_reads


def lake_nodes(specs: Iterable[dg.AssetSpec]) -> list[Node]:
    """The lake tables among these assets, upstream first."""
    tables = {spec.key: spec for spec in specs if "dagster/table_name" in spec.metadata}
    order = TopologicalSorter({key: [d.asset_key for d in spec.deps] for key, spec in tables.items()}).static_order()
    return [_node(tables[key], tables) for key in order if key in tables]


def _node(spec: dg.AssetSpec, tables: dict[dg.AssetKey, dg.AssetSpec]) -> Node:
    mine = spec.partitions_def
    return Node(
        table=table_of(spec.key),
        partitions=mine.get_partition_keys() if mine else [WHOLE],
        upstream={
            table_of(dep.asset_key): upstream_reads(dep.partition_mapping, mine, tables[dep.asset_key].partitions_def)
            for dep in spec.deps
            if dep.asset_key in tables
        },
        code_version=spec.code_version or "",
        layer=spec.tags.get("layer", ""),
    )
