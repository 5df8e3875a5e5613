"""A contract in the words of the Open Data Contract Standard, version 3.1: a document of plain values, and its YAML.

Everything in a document follows from the code, but for `version` and `status`, which people decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from convergence.contracts.rules import EXTRA, MISSING, NOT_NULL, TYPE, UNIQUE, UNIQUE_TOGETHER, Rule, rules_of
from convergence.errors import ConvergenceError
from convergence.lake.contracts import Contract

API_VERSION = "v3.1.0"
LARGEST = 2_000_000  # bytes of a file; the largest of ours has a twentieth of it
DEEPEST = 20
HEAD = "# Written by `convergence contract export` from the code. By hand: version and status, nothing else.\n"

Document = dict[str, Any]

_OPENS = (
    *(yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken),
    *(yaml.FlowMappingStartToken, yaml.FlowSequenceStartToken),
)
_CLOSES = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)

_LOGICAL = {
    **dict.fromkeys(("Date",), "date"),
    **dict.fromkeys(("String", "Categorical", "Enum", "Binary"), "string"),
    **dict.fromkeys(("Boolean",), "boolean"),
    **dict.fromkeys(("Datetime",), "timestamp"),
    **dict.fromkeys(("Time",), "time"),
    **dict.fromkeys(("Float32", "Float64", "Decimal"), "number"),
    **dict.fromkeys((f"{u}Int{n}" for u in ("", "U") for n in (8, 16, 32, 64, 128)), "integer"),
    **dict.fromkeys(("List", "Array"), "array"),
    **dict.fromkeys(("Struct",), "object"),
}
_CLASSIFICATION = {"identifier": "confidential", "pseudonym": "restricted"}
_BOUNDS = {
    "greater_than_or_equal_to": {"min_value": "minimum"},
    "greater_than": {"min_value": "exclusiveMinimum"},
    "less_than_or_equal_to": {"max_value": "maximum"},
    "less_than": {"max_value": "exclusiveMaximum"},
}
_LENGTHS = {"minLength": "min_value", "maxLength": "max_value"}


class _WithoutAliases(yaml.SafeDumper):
    """Writes out what occurs twice, as readers of a contract refuse references."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


class ContractFileInvalid(ConvergenceError):
    """A contract file that is missing, too large, unsafe or no contract."""


@dataclass(frozen=True)
class Table:
    """A table that is promised, with what its contract does not say: who reads it, how often it comes, how late."""

    name: str
    contract: Contract
    description: str = ""
    layer: str = ""
    owners: Sequence[str] = ()
    every_days: int | None = None  # length of its partitions
    late_after_hours: float | None = None
    consumers: Sequence[str] = field(default_factory=tuple)


def document(use_case: str, tables: Sequence[Table], *, version: str = "1.0.0", status: str = "active") -> Document:
    """The contract of a use case's tables, by name of the table."""
    ordered = sorted(tables, key=lambda table: table.name)
    sla = [
        {"property": name, "value": value, "unit": unit, "element": _leaf(table.name)}
        for table in ordered
        for name, value, unit in (("frequency", table.every_days, "d"), ("latency", table.late_after_hours, "h"))
        if value is not None
    ]
    return {
        "apiVersion": API_VERSION,
        "kind": "DataContract",
        "id": f"convergence.{use_case}",
        "name": use_case,
        "version": version,
        "status": status,
        "domain": use_case,
        "description": {"purpose": f"The tables of the use case {use_case}, as Delta tables of the lake."},
        "servers": [{"server": "lake", "type": "local", "path": f"lake/{use_case}", "format": "delta"}],
        "team": {"name": ", ".join(sorted({owner for table in ordered for owner in table.owners}))},
        "schema": [_table(table) for table in ordered],
        **({"slaProperties": sla} if sla else {}),
    }


def dump(made: Document) -> str:
    """The text of a contract file."""
    return HEAD + yaml.dump(made, Dumper=_WithoutAliases, sort_keys=False, allow_unicode=True, width=120)


def load(path: Path) -> Document:
    """The document in a file. Raises ContractFileInvalid."""
    try:
        size = path.stat().st_size
    except OSError:
        raise ContractFileInvalid(f"{path} is not there: `convergence contract export` writes it") from None
    if size > LARGEST:
        raise ContractFileInvalid(f"{path} has {size:,} bytes, more than the {LARGEST:,} that a contract may have")
    return parse(path.read_bytes(), str(path))


def parse(text: bytes, name: str) -> Document:
    """The document in a text: no tags of Python, no aliases (they grow without bound), no depths. Raises as `load`."""
    if len(text) > LARGEST:
        raise ContractFileInvalid(f"{name} has {len(text):,} bytes, more than the {LARGEST:,} that a contract may have")
    try:
        depth = 0
        for token in yaml.scan(text, Loader=yaml.CSafeLoader):
            depth += isinstance(token, _OPENS) - isinstance(token, _CLOSES)
            if isinstance(token, yaml.AliasToken):
                raise ContractFileInvalid(f"{name} has YAML aliases (*name), which no contract needs: write them out")
            if depth > DEEPEST:  # the loader descends in C, and would take the process with it
                raise ContractFileInvalid(f"{name} is nested more than {DEEPEST} deep, which no contract is")
        found = yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ContractFileInvalid(f"{name} is not YAML that is safe to read: {first}") from None
    _require(found, name)
    return found


def major(made: Document) -> int:
    """The first number of a document's version."""
    return int(made["version"].split(".")[0])


def custom(element: Mapping[str, Any], name: str) -> Any:
    """The value of a custom property; None without."""
    return next((p["value"] for p in element.get("customProperties", ()) if p["property"] == name), None)


def _require(found: Any, name: str) -> None:
    """Refuse what the rest of the code could not read."""
    wrong = ""
    if not isinstance(found, dict) or found.get("kind") != "DataContract":
        wrong = "kind is not DataContract"
    elif not str(found.get("apiVersion", "")).startswith("v3."):
        wrong = f"apiVersion is {found.get('apiVersion')!r}, expected {API_VERSION}"
    elif not isinstance(found.get("version"), str) or not found["version"].split(".")[0].isdigit():
        wrong = f"version is {found.get('version')!r}, expected a text like 1.0.0"
    elif not isinstance(found.get("status"), str):
        wrong = "status is missing: draft, active, deprecated or retired"
    elif not _named(found.get("schema")) or not all(_named(table.get("properties")) for table in found["schema"]):
        wrong = "schema is no list of tables with name and properties"
    if wrong:
        raise ContractFileInvalid(f"{name} is no data contract: {wrong}; `convergence contract export` writes one")


def _named(elements: Any) -> bool:
    return isinstance(elements, list) and all(isinstance(e, dict) and isinstance(e.get("name"), str) for e in elements)


def _leaf(table: str) -> str:
    return table.rpartition("/")[2]


def _table(table: Table) -> Document:
    rules = rules_of(table.contract)
    own = [rule for rule in rules if rule.column is None]
    together = next((rule.arguments["columns"] for rule in own if rule.name == UNIQUE_TOGETHER), None)
    unique = together or [name for name, c in table.contract.to_schema().columns.items() if c.unique and not c.nullable]
    keys = unique if together or len(unique) == 1 else []
    checks = [_quality(rule) for rule in own if rule.name != EXTRA]
    deprecated = (table.contract.__config__.metadata or {}).get("deprecated") if table.contract.__config__ else None
    properties = {
        "owner": ", ".join(table.owners) or None,
        "contract": f"{table.contract.__module__}.{table.contract.__name__}",
        "otherColumns": "refused" if any(rule.name == EXTRA for rule in own) else "allowed",
        "consumers": sorted(table.consumers),
        "deprecated": deprecated,
    }
    return {
        "name": _leaf(table.name),
        "physicalName": table.name,
        "physicalType": "table",
        "logicalType": "object",
        "description": table.description or (table.contract.__doc__ or "").strip().split("\n")[0],
        **({"tags": [table.layer]} if table.layer else {}),
        **_customs(properties),
        "properties": [
            _column(table, name, [rule for rule in rules if rule.column == name], keys)
            for name in table.contract.to_schema().columns
        ],
        **({"quality": checks} if checks else {}),
    }


def _column(table: Table, name: str, rules: Sequence[Rule], keys: Sequence[str]) -> Document:
    column = table.contract.to_schema().columns[name]
    metadata = column.metadata or {}
    kind: pl.DataType = column.dtype.type  # pyright: ignore
    logical = _LOGICAL.get(str(column.dtype).split("(")[0], "object")
    options: Document = {"format": "binary"} if kind == pl.Binary else {}
    quality: list[Document] = []
    for rule in rules:
        options |= (said := _options(rule, logical))
        if not said and (checked := _quality(rule)):
            quality.append(checked)
    item = getattr(kind, "inner", None)
    made = {
        "name": name,
        "logicalType": logical,
        "physicalType": str(column.dtype),
        "description": column.description,
        "required": not column.nullable,
        "unique": bool(column.unique) or None,
        "primaryKey": True if name in keys else None,
        "primaryKeyPosition": keys.index(name) + 1 if name in keys else None,
        "partitioned": True if (mine := name == "event_date" and table.every_days) else None,
        "partitionKeyPosition": 1 if mine else None,
        "classification": _CLASSIFICATION.get(str(metadata.get("pii"))),
        "items": {"logicalType": _LOGICAL.get(str(item).split("(")[0], "object")} if item else None,
        "logicalTypeOptions": options or None,
        "quality": quality or None,
        **_customs({key: metadata.get(key) for key in ("unit", "pii", "subject", "deprecated")}),
    }
    return {key: value for key, value in made.items() if value is not None}


def _customs(properties: Mapping[str, Any]) -> Document:
    """The custom properties that are not empty, as an entry of a document."""
    held = [{"property": key, "value": value} for key, value in properties.items() if value not in (None, [])]
    return {"customProperties": held} if held else {}


def _options(rule: Rule, logical: str) -> Document:
    """What the standard has a word of its own for."""
    if logical in ("integer", "number"):
        return {word: rule.arguments[key] for key, word in _BOUNDS.get(rule.name, {}).items()} or _range(rule)
    if logical == "string" and rule.name == "str_length":
        said = rule.arguments
        held = {word: said.get(key, said.get("exact_value")) for word, key in _LENGTHS.items()}
        return {word: length for word, length in held.items() if length is not None}
    if logical == "string" and rule.name == "str_matches":  # Pandera anchors it at the beginning
        return {"pattern": f"^(?:{rule.arguments['pattern']})"}
    return {}


def _range(rule: Rule) -> Document:
    if rule.name != "in_range":
        return {}
    low = "minimum" if rule.arguments["include_min"] else "exclusiveMinimum"
    high = "maximum" if rule.arguments["include_max"] else "exclusiveMaximum"
    return {low: rule.arguments["min_value"], high: rule.arguments["max_value"]}


def _quality(rule: Rule) -> Document | None:
    if rule.name in (NOT_NULL, UNIQUE, TYPE, MISSING):  # the column's own fields say it
        return None
    if rule.name == "isin":
        values = {"validValues": list(rule.arguments["allowed_values"])}
        return {"metric": "invalidValues", "arguments": values, "mustBe": 0, "unit": "rows"}
    if rule.name == UNIQUE_TOGETHER:
        together = {"properties": list(rule.arguments["columns"])}
        return {"metric": "duplicateValues", "arguments": together, "mustBe": 0, "unit": "rows"}
    return {"type": "custom", "engine": "pandera", "implementation": rule.text}
