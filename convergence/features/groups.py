"""Feature tables as something to ask: by which entity, for which columns, and up to which age.

A row of a feature table is what was known about *several* entities at one event. So each entity of the view is a group
of its own, whose features are those computed over its windows; the event itself is one more, which has them all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property

import polars as pl

from convergence.errors import ConvergenceError
from convergence.features.views import FeatureView
from convergence.lake.contracts import Contract, schema_of


@dataclass(frozen=True)
class FeatureGroup:
    """Columns of a feature table that are asked for by one entity: their last values that were known as of a time.

    `features` are names and descriptions, `columns` the types of all columns that are read. `sequence` decides between
    rows of an entity at the same time. `lasting`: whether the entity is asked for after its last row. A value older
    than `max_age` when asked for is null; None: no limit.
    """

    name: str
    table: str
    entity: tuple[str, ...]
    sequence: str
    features: Mapping[str, str]
    columns: Mapping[str, pl.DataType] = field(repr=False)
    lasting: bool = True
    max_age: timedelta | None = None


@dataclass(frozen=True)
class FeatureTable:
    """A view, the table that holds its rows, and the contract that describes them.

    `inputs` are the columns that models take, in their order; those that the view only keeps can be asked for too.
    `lasting`: whether one event is asked for again when the next one happens. A customer that is looked at is, a
    transaction is not: then its features are of no use online, where it is over.

    Raises:
        ConvergenceError: the contract lacks a column.
    """

    table: str
    view: FeatureView
    contract: Contract
    inputs: tuple[str, ...] = ()
    lasting: bool = False
    max_age: timedelta | None = None

    def __post_init__(self) -> None:
        needed = (*self.view.features, *self.inputs, *(c for entity in self.entities for c in entity), *self._order)
        if missing := [name for name in dict.fromkeys(needed) if name not in self.columns]:
            raise ConvergenceError(
                f"{self.table}: its contract lacks {', '.join(missing)}; keep them in the view {self.view.name}, or "
                "take them out of `inputs`"
            )

    @cached_property
    def columns(self) -> pl.Schema:
        """Names and types of the table's columns."""
        return schema_of(self.contract)

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """One line for each column of the table."""
        return {name: column.description or name for name, column in self.contract.to_schema().columns.items()}

    @property
    def entities(self) -> tuple[tuple[str, ...], ...]:
        """Key columns of each entity that the view has windows of."""
        return tuple(dict.fromkeys(aggregate.entity for aggregate in self.view.aggregates))

    @property
    def groups(self) -> tuple[FeatureGroup, ...]:
        """What can be asked for: all features of an event first, then those of each entity."""
        kept = (name for name in self.inputs if name not in (*self.view.features, self.view.sequence))
        everything = self._group(self.view.name, (self.view.sequence,), (*kept, *self.view.features))
        by_entity = (
            self._group(
                f"{self.view.name}_by_{'_and_'.join(entity)}",
                entity,
                tuple(a.name for a in self.view.aggregates if a.entity == entity),
            )
            for entity in self.entities
        )
        return (everything, *(group for group in by_entity if group.entity != everything.entity))

    @property
    def _order(self) -> tuple[str, ...]:
        return ("event_time", "arrived_at", self.view.sequence)

    def _group(self, name: str, entity: tuple[str, ...], features: tuple[str, ...]) -> FeatureGroup:
        read = dict.fromkeys((*entity, *self._order, *features))
        return FeatureGroup(
            name=name,
            table=self.table,
            entity=entity,
            sequence=self.view.sequence,
            features={feature: self.descriptions[feature] for feature in features},
            columns={column: self.columns[column] for column in read},
            lasting=self.lasting or entity != (self.view.sequence,),
            max_age=self.max_age,
        )
