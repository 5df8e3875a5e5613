"""Which tables name a data subject or its events, from the column tags that contracts give every asset."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import dagster as dg

from resources.graph import lake_nodes
from resources.keys import table_of


@dataclass(frozen=True)
class Named:
    """The tables that name a kind of subject, upstream first, and the column that does; the same for its events."""

    columns: dict[str, str] = field(default_factory=dict)
    events: dict[str, str] = field(default_factory=dict)


def named_subjects(specs: Iterable[dg.AssetSpec]) -> dict[str, Named]:
    """By kind of subject, what contracts mark with `subject` and `event_of`."""
    specs = list(specs)
    order = {node.table: n for n, node in enumerate(lake_nodes(specs))}
    found: dict[str, Named] = {}
    for spec in sorted((s for s in specs if table_of(s.key) in order), key=lambda s: order[table_of(s.key)]):
        schema = spec.metadata.get("dagster/column_schema")
        for column in schema.columns if isinstance(schema, dg.TableSchema) else ():
            if kind := column.tags.get("subject"):
                found.setdefault(kind, Named()).columns[table_of(spec.key)] = column.name
            if kind := column.tags.get("event_of"):
                found.setdefault(kind, Named()).events[table_of(spec.key)] = column.name
    return found
