"""The feature catalogue: what the declarations say of each feature, where that is written, and how its values lie.

Nothing is written for the catalogue. A use case declares its FeatureTables as `views`; the rest is read from them,
from the source text, and from the tables.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import polars as pl
import polars.selectors as cs

from convergence.errors import ConvergenceError
from convergence.features.groups import FeatureTable
from convergence.features.views import Aggregate, RowExpression
from convergence.lake.generations import use_case_of

_QUANTILES = (0.05, 0.5, 0.95)


class FeatureUnknown(ConvergenceError):
    """No use case declares a feature of this name."""


@dataclass(frozen=True)
class Feature:
    """One feature as declared. `reads` are columns, as `source.column`, or other features of the view."""

    name: str
    description: str
    kind: str
    table: FeatureTable
    definition: str
    entity: tuple[str, ...]
    window: str
    delay: str
    reads: tuple[str, ...]
    used_by: tuple[str, ...]  # features of the same view that are computed from it

    @property
    def use_case(self) -> str:
        """The use case that declares it."""
        return use_case_of(self.table.table)

    @property
    def is_model_input(self) -> bool:
        """Whether models take it."""
        return self.name in self.table.inputs


def features_of(table: FeatureTable) -> list[Feature]:
    """The features of a table, in its order."""
    reads = {row.name: _inputs(row, table.columns) for row in table.view.expressions}

    def used_by(name: str) -> tuple[str, ...]:
        return tuple(expression for expression, columns in reads.items() if name in columns)

    def about(name: str, **declared: Any) -> Feature:
        kind = str(table.columns[name])
        description = table.view.descriptions[name]
        return Feature(name=name, description=description, kind=kind, table=table, used_by=used_by(name), **declared)

    aggregates = [
        about(
            a.name,
            definition=_definition(a),
            entity=a.entity,
            window=_time(a.window),
            delay=_time(a.delay) if a.delay else "",
            reads=tuple(f"{a.source}.{column}" for column in (*a.entity, a.column, a.where) if column),
        )
        for a in table.view.aggregates
    ]
    expressions = [
        about(
            row.name,
            definition="expression of the row",
            entity=(table.view.sequence,),
            window="",
            delay="",
            reads=tuple(c if c in table.view.features else f"{table.view.source}.{c}" for c in reads[row.name]),
        )
        for row in table.view.expressions
    ]
    return [*aggregates, *expressions]


def find(tables: Iterable[FeatureTable], name: str) -> list[Feature]:
    """The features of this name, one for each table that has it. Raises FeatureUnknown, which names similar ones."""
    from difflib import get_close_matches

    every = [feature for table in tables for feature in features_of(table)]
    if found := [feature for feature in every if feature.name == name]:
        return found
    near = get_close_matches(name, {feature.name for feature in every}, 3, 0.5)
    told = f": do you mean {' or '.join(near)}?" if near else "; `convergence features ls` lists them"
    raise FeatureUnknown(f"no use case declares a feature {name!r}{told}")


def declared_at(folder: Path, name: str) -> tuple[Path, int] | None:
    """File and line of the call that declares a feature, below the folder of a use case; None: not found there.

    Names may be made of parts, as in `f"count_{window}"`: the call whose constant parts are longest is meant.
    """
    best, place = -1, None
    for file in sorted(folder.glob("*.py")):
        for line, parts in _named_calls(file):
            constant = sum(len(part) for part in parts if part is not None)
            pattern = "".join(".+" if part is None else re.escape(part) for part in parts)
            if constant > best and re.fullmatch(pattern, name):
                best, place = constant, (file, line)
    return place


def statistics(rows: pl.DataFrame, feature: str) -> dict[str, Any]:
    """How the values of a feature lie in some rows: what is missing, and moments and quantiles, or the values named.

    Booleans count as 0 and 1. Text has the number of different values and the most frequent one.
    """
    column = rows.get_column(feature)
    missing = {"rows": len(column), "null": column.null_count() / max(len(column), 1)}
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        top = column.drop_nulls().value_counts(sort=True, name="times")
        return missing | {"different": top.height, "most frequent": top[feature][0] if top.height else None}
    values = column.cast(pl.Float64)
    named = {f"{share:.0%}": values.quantile(share) for share in _QUANTILES}
    return missing | {"mean": values.mean(), "std": values.std(), "min": values.min(), **named, "max": values.max()}


def _named_calls(file: Path) -> Iterator[tuple[int, Sequence[str | None]]]:
    """Line and first argument of the calls that take a text and more; None is a part that is computed."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Call) or not node.args or len(node.args) + len(node.keywords) < 2:
            continue
        match node.args[0]:
            case ast.Constant(value=str() as text):
                yield node.lineno, [text]
            case ast.JoinedStr(values=values):
                yield node.lineno, [str(v.value) if isinstance(v, ast.Constant) else None for v in values]


def _inputs(row: RowExpression, columns: Mapping[str, pl.DataType]) -> tuple[str, ...]:
    """The columns without which the expression cannot be computed."""
    empty = pl.DataFrame(schema=dict(columns)).select(cs.exclude(row.name))

    def computes(frame: pl.DataFrame) -> bool:
        try:
            nw.from_native(frame).select(row.expression.alias(row.name))
        except (pl.exceptions.PolarsError, nw.exceptions.NarwhalsError):
            return False
        return True

    return tuple(name for name in empty.columns if not computes(empty.drop(name))) if computes(empty) else ()


def _definition(aggregate: Aggregate) -> str:
    """The aggregate in words: `mean of amount (units of 0.01) where is_genuine`."""
    of = f" of {aggregate.column}" if aggregate.column else ""
    unit = f" (units of {aggregate.resolution:g})" if aggregate.column and aggregate.resolution != 1 else ""
    return aggregate.function + of + unit + (f" where {aggregate.where}" if aggregate.where else "")


def _time(span: timedelta) -> str:
    units = (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1)))
    for name, unit in units:
        if not span % unit:
            number = span // unit
            return f"{number} {name}{'s' if number > 1 else ''}"
    return f"{span.total_seconds():g} seconds"
