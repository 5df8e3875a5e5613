"""Which tables name a data subject, from the column tags that contracts give every asset."""

from collections.abc import Iterable

import dagster as dg

from resources.graph import lake_nodes
from resources.keys import table_of


def subject_columns(specs: Iterable[dg.AssetSpec]) -> dict[str, dict[str, str]]:
    """By kind of subject, the tables that name it and the column that does, upstream first."""
    specs = list(specs)
    order = {node.table: n for n, node in enumerate(lake_nodes(specs))}
    found: dict[str, dict[str, str]] = {}
    for spec in sorted((s for s in specs if table_of(s.key) in order), key=lambda s: order[table_of(s.key)]):
        schema = spec.metadata.get("dagster/column_schema")
        for column in schema.columns if isinstance(schema, dg.TableSchema) else ():
            if kind := column.tags.get("subject"):
                found.setdefault(kind, {})[table_of(spec.key)] = column.name
    return found
