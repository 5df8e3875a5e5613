"""Which columns of its sources each feature of a view is computed from: as declared, and as Polars asks for them."""

from collections.abc import Iterator

import narwhals as nw
import polars as pl
from polars.io.plugins import register_io_source

from convergence.features.views import Aggregate, FeatureView

_TIMES = ("event_time", "arrived_at")  # which rows are in a window, and which of them were known


def feature_sources(view: FeatureView, schema: pl.Schema) -> dict[str, tuple[tuple[str, str], ...]]:
    """(source, column) pairs of each feature: values, conditions, keys and times of the rows that it is made from.

    `schema` has the types of the columns of the view's source, and of its features.
    """
    own = [(view.source, name) for name in _TIMES]
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for aggregate in view.aggregates:
        pairs = [*((aggregate.source, name) for name in _read_by(aggregate)), *own]
        pairs += [(view.source, key) for key in aggregate.entity]
        found[aggregate.name] = tuple(dict.fromkeys(pairs))
    for row in view.expressions:
        pairs = [p for name in root_names(row.expression, schema) for p in found.get(name, ((view.source, name),))]
        found[row.name] = tuple(dict.fromkeys(pairs))
    return found


def root_names(expression: nw.Expr, schema: pl.Schema) -> list[str]:
    """The columns of a frame that an expression reads: those for which Polars asks its source, in their order."""
    asked: set[str] = set()

    def source(
        columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch: int | None
    ) -> Iterator[pl.DataFrame]:
        names = list(schema) if columns is None else columns
        asked.update(names)
        yield schema.to_frame().select(names)

    frame = register_io_source(source, schema=schema)
    nw.from_native(frame).select(x=expression).to_native().collect()
    return [name for name in schema if name in asked]


def _read_by(aggregate: Aggregate) -> list[str]:
    named = (aggregate.column, aggregate.where, *aggregate.entity, *_TIMES)
    return [name for name in named if name]
