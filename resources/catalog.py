"""What Dagster and the lake know of every asset, as plain data for the catalogue."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from convergence.catalog.consumers import Consumer
from convergence.catalog.prices import Prices
from convergence.lake.manifests import PartitionState, states
from convergence.lake.tables import Lake
from convergence.versions.lineage import Column, ColumnGraph
from resources.costs import measured, usage_of
from resources.keys import table_of
from resources.lineage import said

NEWEST = 60  # partitions of a table that the catalogue lists


def catalog(
    defs: dg.Definitions,
    graph: ColumnGraph,
    services: Iterable[Consumer],
    instance: dg.DagsterInstance,
    lake: Lake,
    prices: Prices,
) -> dict[str, Any]:
    """Every asset with its columns, checks, versions and cost, and who reads what outside of the graph."""
    specs = sorted(defs.resolve_all_asset_specs(), key=lambda spec: table_of(spec.key))
    tables = [table_of(spec.key) for spec in specs if "dagster/table_name" in spec.metadata]
    held = states(lake, [table for table in tables if lake.open(table) is not None])
    checks = defs.resolve_asset_graph()
    return {
        "made_at": _minute(datetime.now(UTC).timestamp()),
        "prices": {"currency": prices.currency},
        "services": [{"name": s.name, "about": s.about, "columns": [str(c) for c in s.columns]} for s in services],
        "assets": [
            {
                **_declared(spec, graph),
                "checks": [
                    _check(checks.get_check_spec(key), instance)
                    for key in sorted(checks.get_check_keys_for_assets({spec.key}), key=lambda key: key.name)
                ],
                **_history(spec, held.get(table_of(spec.key), {}), instance, prices),
            }
            for spec in specs
        ],
    }


def _declared(spec: dg.AssetSpec, graph: ColumnGraph) -> dict[str, Any]:
    schema, table = said(spec, "dagster/column_schema"), table_of(spec.key)
    partitions = spec.partitions_def
    return {
        "key": table,
        "group": spec.group_name or "",
        "layer": spec.tags.get("layer", ""),
        "kinds": sorted(spec.kinds),
        "owners": list(spec.owners),
        "description": spec.description or "",
        "contract": said(spec, "contract") or "",
        "code_version": spec.code_version or "",
        "partitions": _partitions(partitions) if partitions else spec.tags.get("not_partitioned", "none"),
        "freshness": _freshness(spec),
        "upstream": [table_of(dep.asset_key) for dep in spec.deps],
        "columns": [_column(column, graph.sources.get(Column(table, column.name), ())) for column in schema.columns]
        if schema
        else [],
    }


def _column(column: dg.TableColumn, sources: Sequence[Column]) -> dict[str, Any]:
    limits = column.constraints
    rules = [*([] if limits.nullable else ["never null"]), *(["unique"] if limits.unique else []), *limits.other]
    return {
        "name": column.name,
        "type": column.type,
        "description": column.description or "",
        "rules": rules,
        "tags": dict(column.tags or {}),
        "from": [str(source) for source in sources],
    }


def _partitions(definition: dg.PartitionsDefinition) -> str:
    keys = definition.get_partition_keys()
    return f"{len(keys)}, {keys[0]} to {keys[-1]}" if keys else "none yet"


def _freshness(spec: dg.AssetSpec) -> str:
    policy = spec.freshness_policy
    return str(policy) if policy else "no limit: history, or a source that is not live here"


def _check(spec: dg.AssetCheckSpec, instance: dg.DagsterInstance) -> dict[str, Any]:
    record = instance.get_latest_asset_check_evaluation_record(spec.key)
    found = record.evaluation if record else None
    verdict = "never run"
    if isinstance(found, dg.AssetCheckEvaluation):
        warns = found.severity is dg.AssetCheckSeverity.WARN
        verdict = "passed" if found.passed else "warning" if warns else "failed"
    return {
        "name": spec.name,
        "description": spec.description or "",
        "blocking": spec.blocking,
        "verdict": verdict,
        "partition": getattr(found, "partition", None) or "",
        "at": _minute(record.create_timestamp) if record and found else "",
    }


def _history(
    spec: dg.AssetSpec, held: Mapping[str, PartitionState], instance: dg.DagsterInstance, prices: Prices
) -> dict[str, Any]:
    """What the lake holds of an asset, and what its newest materializations say that each partition took."""
    records = instance.fetch_materializations(spec.key, limit=max(1, 2 * len(held))).records if held else []
    took = {key: figures for key, figures in measured(records).items() if key in held}
    made = {key: prices.of_making(*usage_of(figures)) for key, figures in took.items()}
    return {
        "versions": _versions(held, took, made, records) if held else None,
        "cost": {
            "measured": len(took),
            "making": sum(made.values()),
            "keeping": prices.of_keeping(size := int(sum(f["bytes_written"] for f in took.values()))),
            "cpu_seconds": sum(f["cpu_seconds"] for f in took.values()),
            "bytes_written": size,
            "peak_memory_mib": max(f["peak_memory_mib"] for f in took.values()),
        }
        if took
        else None,
    }


def _versions(
    held: Mapping[str, PartitionState],
    took: Mapping[str, Mapping[str, float]],
    made: Mapping[str, float],
    records: Sequence[Any],
) -> dict[str, Any]:
    newest = max(held.values(), key=lambda state: state.version)
    return {
        "partitions": len(held),
        "rows": sum(state.rows for state in held.values()),
        "table_version": newest.version,
        "code_version": newest.code_version,
        "origins": sorted({origin for state in held.values() for origin in state.origins}),
        "made_at": _minute(records[0].timestamp) if records else None,
        "newest": [
            {
                "partition": key,
                "rows": state.rows,
                "version": state.version,
                "hash": state.content_hash,
                "cost": made.get(key),
                **took.get(key, {}),
            }
            for key, state in sorted(held.items(), reverse=True)[:NEWEST]
        ],
    }


def _minute(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M} UTC"
