"""Column lineage of a dbt model in Dagster, from its compiled SQL: dagster-dbt's own asks the database, holding it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from convergence.errors import SettingsError
from convergence.versions.lineage import Column
from convergence.versions.sql_lineage import Relation, query_columns
from resources.keys import table_of


def model_columns(spec: dg.AssetSpec, known: Mapping[str, Sequence[str]]) -> dict[str, tuple[Column, ...]]:
    """The sources of each column of a dbt model; `known` are the columns of every table that is upstream.

    Raises:
        SettingsError: the manifest holds no compiled SQL.
        UnreadableQuery: the SQL cannot be traced.
    """
    manifest: Mapping[str, Any] = spec.metadata["dagster_dbt/manifest"].manifest
    node = manifest["nodes"][spec.metadata["dagster_dbt/unique_id"]]
    if not node.get("compiled_code"):
        raise SettingsError(
            f"dbt model {node['name']} is in the manifest without its SQL: the manifest was parsed, not compiled. Run "
            "`make setup`, which compiles it"
        )
    tables = {relation: table_of(key) for relation, key in _upstream(spec, manifest, node)}
    columns = {relation: known.get(table, ()) for relation, table in tables.items()}
    found = query_columns(node["compiled_code"], columns, manifest["metadata"]["adapter_type"])
    written = {name.lower(): name for name in node["columns"]}  # as documented; SQL folds the case of names
    return {
        written.get(name.lower(), name): tuple(Column(tables[relation], column) for relation, column in sources)
        for name, sources in found.items()
    }


def _upstream(
    spec: dg.AssetSpec, manifest: Mapping[str, Any], node: Mapping[str, Any]
) -> Iterator[tuple[Relation, dg.AssetKey]]:
    """What a model reads: how SQL names it, and the asset that it is."""
    translator = spec.metadata["dagster_dbt/dagster_dbt_translator"]
    for unique_id in node["depends_on"]["nodes"]:
        resource = manifest["sources"].get(unique_id) or manifest["nodes"][unique_id]
        named = resource.get("identifier") or resource.get("alias") or resource["name"]
        relation = Relation(named, resource.get("schema") or "", resource.get("database") or "")
        yield relation, translator.get_asset_spec(manifest, unique_id, None).key
