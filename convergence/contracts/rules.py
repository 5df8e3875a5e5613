"""The rules of a contract one by one, under the names that Pandera reports them by: every other form is made from them.

A rule's text is what a quarantined row's reason holds, so that a file, another engine and the lake say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from convergence.lake.contracts import Contract

NOT_NULL, UNIQUE, UNIQUE_TOGETHER = "not_nullable", "field_uniqueness", "multiple_fields_uniqueness"
TYPE, MISSING, EXTRA = "dtype", "column_in_dataframe", "column_in_schema"


@dataclass(frozen=True)
class Rule:
    """One promise: of a column, or of the whole table (`column` None; reasons then begin with `owner`)."""

    column: str | None
    name: str
    text: str
    owner: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """What a row that breaks it is quarantined for."""
        return f"{self.column or self.owner}: {self.text}"


def rules_of(contract: Contract) -> list[Rule]:
    """Every rule of a contract, column by column, those of the whole table last."""
    schema = contract.to_schema()
    owner = schema.name or "frame"
    found: list[Rule] = []
    for name, column in schema.columns.items():
        found += [
            Rule(name, MISSING, MISSING, owner),
            Rule(name, TYPE, f"dtype('{column.dtype}')", owner, {"type": str(column.dtype)}),
        ]
        found += [Rule(name, NOT_NULL, NOT_NULL, owner)] * (not column.nullable)
        found += [Rule(name, UNIQUE, UNIQUE, owner)] * bool(column.unique)
        found += [Rule(name, str(c.name), str(c.error or c.name), owner, c.statistics or {}) for c in column.checks]
    if schema.unique:
        found.append(Rule(None, UNIQUE_TOGETHER, UNIQUE_TOGETHER, owner, {"columns": list(schema.unique)}))
    found += [Rule(None, str(c.name), str(c.error or c.name), owner, c.statistics or {}) for c in schema.checks or ()]
    if schema.strict:
        found.append(Rule(None, EXTRA, EXTRA, owner, {"columns": list(schema.columns)}))
    return found
