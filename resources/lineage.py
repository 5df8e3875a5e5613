"""Column lineage in Dagster: what contracts, topics and dbt's SQL say, as `dagster/column_lineage` of every asset.

A contract is declared before its asset's inputs are known, so each asset carries what it says until all are there;
`with_column_lineage` then completes it, once, and whatever reads Dagster's own metadata sees the same.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Any

import dagster as dg

from convergence.arrivals.topics import ARRIVED, Topic
from convergence.lake.contracts import Contract, schema_of
from convergence.lake.tables import DAY
from convergence.versions.lineage import Column, ColumnGraph, Declared, declared
from resources.keys import key_of, table_of

COLUMN_SOURCES = "convergence/column_sources"
_LINEAGE, _SCHEMA = "dagster/column_lineage", "dagster/column_schema"
_USES = "uses"

_BY_LANDING = {
    "source": "by landing: the partition of the topic that the message was in",
    "offset": "by landing: the position of the message there",
    ARRIVED: "by landing, where a message does not say it itself",
}


def using(columns: Iterable[str], **asset_in: Any) -> dg.AssetIn:
    """`dg.AssetIn`, of which the asset uses these columns: what `input.*` means in its contract."""
    return dg.AssetIn(**asset_in, metadata={_USES: list(columns)})


def made_from(contract: Contract, ins: Mapping[str, dg.AssetIn], deps: Iterable[Any]) -> dict[str, Declared]:
    """Metadata of a lake asset: what its contract says of where each column comes from, inputs and `deps` alike."""
    tables = {name: table_of(_key_of_input(name, given)) for name, given in ins.items()}
    tables |= {key.path[-1]: table_of(key) for key in (dg.AssetDep.from_coercible(dep).asset_key for dep in deps)}
    uses = {name: given.metadata[_USES] for name, given in ins.items() if given.metadata and _USES in given.metadata}
    return {COLUMN_SOURCES: declared(contract, tables, uses)}


def landed_from(topic: Topic, key: dg.AssetKey) -> dict[str, Declared]:
    """Metadata of a raw table: columns of the topic under their own names, and what landing adds."""
    messages = table_of(key)
    columns = schema_of(topic.contract).names()
    sources = {name: (Column(messages, topic.original(name)),) for name in topic.carried}
    sources[DAY] = sources["event_time"]
    reasons = {name: reason for name, reason in _BY_LANDING.items() if name in columns}
    return {COLUMN_SOURCES: Declared(tuple(columns), (messages,), sources, reasons)}


def with_column_lineage(defs: dg.Definitions) -> dg.Definitions:
    """The same definitions, each asset with `dagster/column_lineage`, and `made_here` on columns without sources."""
    specs = {table_of(spec.key): spec for spec in defs.resolve_all_asset_specs()}
    columns = {table: list(_columns(spec)) for table, spec in specs.items()}
    found: dict[str, tuple[Mapping[str, Sequence[Column]], Mapping[str, str]]] = {}
    for table in _upstream_first(specs):
        metadata = specs[table].metadata
        if COLUMN_SOURCES in metadata:
            found[table] = metadata[COLUMN_SOURCES].traced(columns)
        elif "dagster_dbt/manifest" in metadata:
            from resources.dbt_lineage import model_columns

            found[table] = model_columns(specs[table], columns), {}
            columns[table] = list(found[table][0])

    def completed(spec: dg.AssetSpec) -> dg.AssetSpec:
        if (table := table_of(spec.key)) not in found:
            return spec
        sources, reasons = found[table]
        lineage = {n: [dg.TableColumnDep(key_of(s.table), s.name) for s in made] for n, made in sources.items()}
        kept = {k: v for k, v in spec.metadata.items() if k != COLUMN_SOURCES}
        schema = dg.TableSchema([_with_reason(c, reasons.get(c.name)) for c in _columns(spec).values()])
        return spec.replace_attributes(metadata={**kept, _SCHEMA: schema, _LINEAGE: dg.TableColumnLineage(lineage)})

    return defs.map_resolved_asset_specs(func=completed)


def column_graph(specs: Iterable[dg.AssetSpec]) -> ColumnGraph:
    """The columns of these assets and what each is made from, read from Dagster's own metadata."""
    of = {table_of(spec.key): spec for spec in specs}
    order = [table for table in _upstream_first(of) if _columns(of[table])]
    return ColumnGraph(
        {table: list(_columns(of[table])) for table in order},
        {
            Column(table, name): [Column(table_of(d.asset_key), d.column_name) for d in deps]
            for table in order
            for name, deps in _lineage(of[table]).items()
        },
    )


def reasons(specs: Iterable[dg.AssetSpec]) -> dict[Column, str]:
    """Why columns have no sources, where that is declared."""
    return {
        Column(table_of(spec.key), name): column.tags["made_here"]
        for spec in specs
        for name, column in _columns(spec).items()
        if "made_here" in column.tags
    }


def said(spec: dg.AssetSpec, key: str) -> Any:
    """Metadata as it was declared, whatever Dagster has wrapped it in; None where there is none."""
    value = spec.metadata.get(key)
    return value.value if isinstance(value, dg.MetadataValue) else value


def _lineage(spec: dg.AssetSpec) -> Mapping[str, Sequence[dg.TableColumnDep]]:
    lineage = said(spec, _LINEAGE)
    return lineage.deps_by_column if lineage else {}


def _columns(spec: dg.AssetSpec) -> dict[str, dg.TableColumn]:
    schema = said(spec, _SCHEMA)
    return {column.name: column for column in schema.columns} if schema else {}


def _with_reason(column: dg.TableColumn, reason: str | None) -> dg.TableColumn:
    return dg.TableColumn(
        column.name,
        column.type,
        column.description,
        column.constraints,
        tags={**column.tags, **({"made_here": reason} if reason else {})},
    )


def _upstream_first(specs: Mapping[str, dg.AssetSpec]) -> Iterator[str]:
    order = TopologicalSorter({table: [table_of(d.asset_key) for d in spec.deps] for table, spec in specs.items()})
    return (table for table in order.static_order() if table in specs)


def _key_of_input(name: str, given: dg.AssetIn) -> dg.AssetKey:
    if isinstance(given.key, dg.AssetKey):
        return given.key
    prefix = given.key_prefix or []
    return dg.AssetKey([*([prefix] if isinstance(prefix, str) else prefix), name])
