"""What DuckDB and PostgreSQL have in common: lake tables offered to dbt, a record of what it read, and its results.

The record says which content of each day a model was last built from. It is removed before models are built and written
after, so that whoever publishes one knows what it was made from, or that it is not known.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import polars as pl
from deltalake import DeltaTable

from convergence.errors import LakeError
from convergence.lake.generations import use_case_of

MARTS = "marts"  # schema of dbt's models, in dbt/profiles.yml
_READS = f"{MARTS}.convergence_reads"

Contents = Mapping[str, Mapping[str, str]]  # content hash by table and day


class Session(Protocol):
    """One connection: everything in it counts together, or nothing does."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run a statement with `?` for each parameter."""
        ...

    def frame(self, sql: str, parameters: Sequence[Any] = ()) -> pl.DataFrame:
        """The rows of a query."""
        ...


class Warehouse(ABC):
    """An engine that dbt builds in."""

    name: str  # for metadata and logs
    target: str  # in dbt/profiles.yml

    @property
    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """What dbt/profiles.yml asks for; secrets begin with DBT_ENV_SECRET_, which dbt never prints."""

    @abstractmethod
    def session(self) -> AbstractContextManager[Session]:
        """A connection for as long as it is needed. Raises ServiceError where there is none to be had."""

    @abstractmethod
    def offer(self, table: str, handle: DeltaTable, rows: pl.LazyFrame, days: Sequence[str]) -> None:
        """Make a lake table readable as `lake_<use case>.<table>`: at least these days, as of the handle's version."""

    @abstractmethod
    def empty(self) -> None:
        """Remove everything, and its bytes: it can be built again. Raises ServiceError as `session`."""

    def forget(self, models: Collection[str], days: Collection[str]) -> None:
        """Before models are built: it is not known any more what these days of them were made from."""
        with self.session() as session:
            _make_room(session)
            for model in models:
                session.execute(
                    f"delete from {_READS} where model = ? and day between ? and ?", (model, min(days), max(days))
                )

    def remember(self, models: Collection[str], sources: Contents) -> None:
        """After models were built: the contents of the lake tables that they were made from."""
        rows = [
            (model, source, day, content)
            for model in models
            for source, partitions in sources.items()
            for day, content in partitions.items()
        ]
        with self.session() as session:
            _make_room(session)
            for row in rows:
                session.execute(f"insert into {_READS} values (?, ?, ?, ?)", row)

    def built(self, model: str, sources: Contents, days: Sequence[str]) -> pl.DataFrame:
        """The rows of a model on these days. Raises LakeError if it was made from other contents than `sources`."""
        span = (min(days), max(days))
        with self.session() as session:
            _make_room(session)
            reads = session.frame(
                f"select source, day, content_hash from {_READS} where model = ? and day between ? and ?",
                (model, *span),
            )
            read = {(source, str(day)): content for source, day, content in reads.iter_rows()}
            for table, partitions in sources.items():
                other = [day for day in days if read.get((table, day)) != partitions.get(day)]
                if other:
                    raise LakeError(
                        f"{model} in {self.name} was not made from {table} as it is now, on {other[0]}"
                        f"{f' and {len(other) - 1} more days' if other[1:] else ''}: materialize "
                        f"{use_case_of(table)}/{model} of these days, together with what is published from it"
                    )
            return session.frame(f"select * from {MARTS}.{model} where event_date between ? and ?", span)


def _make_room(session: Session) -> None:
    session.execute(f"create schema if not exists {MARTS}")
    session.execute(f"create table if not exists {_READS} (model text, source text, day date, content_hash text)")


def relation(table: str) -> tuple[str, str]:
    """Schema and name that a lake table has in a warehouse: `churn/customers` is `lake_churn.customers`."""
    use_case, _, name = table.partition("/")
    return f"lake_{use_case}", name
