"""A Feast repository written from our declarations, for those who train or serve with Feast; written without Feast.

Feast asks as of one time, we as of two. So a row is exported with the time from which it counted, the later of event
and arrival, and only if no newer row of its entity counted already: then the last row by that one time is the last
known one by both, in each of Feast's stores.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.groups import FeatureGroup, FeatureTable
from convergence.features.views import Aggregate
from convergence.lake.tables import Lake

AS_OF = "as_of"

_NOTES = Path(__file__).with_suffix(".md")
_TYPES = {
    pl.Int8: "Int32",
    pl.Int16: "Int32",
    pl.Int32: "Int32",
    pl.Int64: "Int64",
    pl.Float32: "Float32",
    pl.Float64: "Float64",
    pl.Boolean: "Bool",
    pl.String: "String",
    pl.Date: "UnixTimestamp",
    pl.Datetime: "UnixTimestamp",
}
_KEYS = {"Int32": "INT32", "Int64": "INT64", "String": "STRING"}
_ONLINE = {
    "sqlite": "online_store:\n  type: sqlite\n  path: data/online.db\n",
    "redis": 'online_store:\n  type: redis\n  connection_string: "${FEAST_REDIS}"  # host:port, and ,password=...\n',
}


@dataclass(frozen=True)
class Exported:
    """A feature view that was written: rows of its file, and rows left out because a newer one was known before."""

    name: str
    rows: int
    overtaken: int
    path: Path = field(repr=False)


def export(
    lake: Lake,
    project: str,
    tables: Sequence[FeatureTable],
    folder: Path,
    *,
    owners: Mapping[str, str],
    online: Literal["sqlite", "redis"] = "sqlite",
) -> list[Exported]:
    """Write a Feast repository of these tables' newest versions into `folder`; what was there under its names is lost.

    Args:
        lake: where the tables are.
        project: Feast's name for them, of letters, digits and underscores.
        tables: what to export, each group as a feature view.
        folder: where to write.
        owners: who answers for a table.
        online: the online store that the repository is set to.

    Raises:
        ConvergenceError: a column has a type that Feast has no equal of, or a key one it does not take.
        TableMissing: a table has never been written.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    definitions, exported = [_HEAD], []
    definitions += [_entity(*entity) for entity in sorted(_entities(tables).items())]
    for table in tables:
        rows = lake.scan(table.table)
        for group in table.groups:
            known, path = as_known(rows, group), data / f"{group.name}.parquet"
            known.rows.write_parquet(path)
            definitions.append(_view(table, group, owners.get(table.table, "")))
            exported.append(Exported(group.name, known.rows.height, known.overtaken, path))
    (folder / "features.py").write_text("\n\n".join(definitions) + "\n")
    (folder / "feature_store.yaml").write_text(_CONFIGURATION.format(project=project) + _ONLINE[online])
    (folder / "README.md").write_text(_NOTES.read_text().format(project=project))
    return exported


@dataclass(frozen=True)
class _Known:
    rows: pl.DataFrame
    overtaken: int


def as_known(rows: pl.LazyFrame, group: FeatureGroup) -> _Known:
    """The group's columns and AS_OF of the rows that were their entity's newest when they became known.

    Rows without an entity are left out. In order of AS_OF, of which each entity has one row.
    """
    order = ["event_time", group.sequence, "arrived_at"]
    frame = rows.select(list(group.columns)).drop_nulls(list(group.entity)).collect().sort(order)
    frame = frame.with_columns(pl.max_horizontal("event_time", "arrived_at").alias(AS_OF), place=pl.int_range(pl.len()))
    in_turn = frame.sort(AS_OF, "place")
    newest = in_turn.filter(pl.col("place") == pl.col("place").cum_max().over(group.entity))
    one_each = newest.unique([*group.entity, AS_OF], keep="last", maintain_order=True)
    small = [name for name, kind in group.columns.items() if kind in (pl.Int8, pl.Int16)]
    kept = one_each.select(*group.entity, AS_OF, *group.features).with_columns(
        pl.col(name).cast(pl.Int32) for name in small if name in {*group.entity, *group.features}
    )
    return _Known(kept, frame.height - kept.height)


_HEAD = '''"""Feature views of Convergence. Written by `convergence features export`: change the declarations there."""

from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

DATA = Path(__file__).parent / "data"
'''

_CONFIGURATION = """project: {project}
provider: local
registry: data/registry.db
entity_key_serialization_version: 3
offline_store:
  type: file
"""


def _entities(tables: Sequence[FeatureTable]) -> dict[str, tuple[str, str, Mapping[str, str]]]:
    """For each key its type, description and tags. Raises ConvergenceError where two tables mean different things."""
    found: dict[str, tuple[str, str, Mapping[str, str]]] = {}
    for table in tables:
        for key in dict.fromkeys(key for group in table.groups for key in group.entity):
            kind = _type(key, table.columns[key])
            if kind not in _KEYS:
                raise ConvergenceError(
                    f"{table.table}.{key} is {kind}, which is no key for Feast; keys are integers or text"
                )
            said = found.setdefault(key, (kind, table.descriptions[key], _tags(table, key)))
            if said[0] != kind:
                raise ConvergenceError(
                    f"{key} is {said[0]} in one table and {kind} in {table.table}: export them apart"
                )
    return found


def _entity(key: str, about: tuple[str, str, Mapping[str, str]]) -> str:
    kind, description, tags = about
    of_kind = _Code(f"ValueType.{_KEYS[kind]}")
    return _call(key, "Entity", name=key, join_keys=[key], value_type=of_kind, description=description, tags=dict(tags))


def _view(table: FeatureTable, group: FeatureGroup, owner: str) -> str:
    source = {
        "name": f"{group.name}_rows",
        "path": _Code(f'str(DATA / "{group.name}.parquet")'),
        "timestamp_field": AS_OF,
    }
    fields = "".join(f"        {_field(table, name)},\n" for name in (*group.entity, *group.features))
    limit = group.max_age.total_seconds() if group.max_age else 0
    return _call(
        group.name,
        "FeatureView",
        name=group.name,
        description=table.view.description,
        owner=owner,
        tags={"table": table.table, "view": table.view.name, "sources": ", ".join(table.view.sources)},
        entities=_Code(f"[{', '.join(group.entity)}]"),
        ttl=_Code(f"timedelta(seconds={limit:g})"),
        online=group.lasting,
        schema=_Code(f"[\n{fields}    ]"),
        source=_Code(f"FileSource({_arguments(source)})"),
    )


def _field(table: FeatureTable, name: str) -> str:
    kind, description = _Code(_type(name, table.columns[name])), table.descriptions[name]
    return f"Field({_arguments({'name': name, 'dtype': kind, 'description': description, 'tags': _tags(table, name)})})"


def _tags(table: FeatureTable, name: str) -> dict[str, str]:
    """How a column is computed, and whether it names a person."""
    pii = (table.contract.to_schema().columns[name].metadata or {}).get("pii")
    computed = next((dict(_computed(a)) for a in table.view.aggregates if a.name == name), {})
    return ({"pii": str(pii)} if pii else {}) | computed


def _computed(aggregate: Aggregate) -> Iterator[tuple[str, str]]:
    yield "function", aggregate.function
    yield "window", str(aggregate.window)
    yield "source", aggregate.source
    for name in ("column", "where", "delay"):
        if value := getattr(aggregate, name):
            yield name, str(value)


def _type(name: str, kind: pl.DataType) -> str:
    if kind.base_type() not in _TYPES:
        raise ConvergenceError(f"column {name!r} is {kind}, which Feast has no equal of: keep it out of the features")
    return _TYPES[kind.base_type()]


class _Code(str):
    """An expression, which is its own representation."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _arguments(named: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in named.items() if value not in ("", {}))


def _call(variable: str, function: str, **named: Any) -> str:
    lines = [f"    {name}={value!r}," for name, value in named.items() if value not in ("", {})]
    return "\n".join([f"{variable} = {function}(", *lines, ")"])
