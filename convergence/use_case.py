"""What a use case consists of, declared once in its `use_case.py`: the graph and every command read it from there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from convergence.arrivals.topics import Topic
from convergence.erasure.subjects import Store
from convergence.errors import DeclarationError
from convergence.features.groups import FeatureTable
from convergence.marked_pages import MarkedPages
from convergence.models.gated import GatedModel
from convergence.search.use_case import SearchedUseCase
from convergence.serving.use_case import ServedUseCase
from convergence.versions.united import Derive


@dataclass(frozen=True, kw_only=True)
class UseCase:
    """A use case: its tables begin with its name, and everything that is special about it is said here.

    Nothing of it loads Dagster or a model: what needs either is named by a function that imports it when it is called.
    """

    name: str  # of its folder
    owner: str  # as Dagster shows it, e.g. team:payments
    calendar: tuple[date, date | None] | None = None  # first and last event date; no last: a live stream
    topics: tuple[Topic, ...] = ()
    models: tuple[GatedModel, ...] = ()
    views: tuple[FeatureTable, ...] = ()
    services: tuple[ServedUseCase | SearchedUseCase, ...] = ()
    pages: tuple[MarkedPages, ...] = ()
    erasable: tuple[Callable[[Path], Store], ...] = ()  # what it keeps of data subjects beside tables, below the home
    fresh: Mapping[str, timedelta] = field(default_factory=dict)  # table: how old it may be where a source is live
    as_of_now: Mapping[str, Derive] = field(default_factory=dict)  # table: its rows, made from landed ones
    tried: Topic | None = None  # the topic that `convergence chaos` sends its load to
    minutes: float = 1.0  # that its demo takes, about: the longest begins first

    def __post_init__(self) -> None:
        """Raises DeclarationError for a table that would be another use case's."""
        named = [
            *(table for topic in self.topics for table in topic.tables),
            *(model.models for model in self.models),
            *(view.table for view in self.views),
            *self.fresh,
            *self.as_of_now,
        ]
        if strangers := [table for table in named if not table.startswith(f"{self.name}/")]:
            raise DeclarationError(
                f"use case {self.name} declares {', '.join(strangers)}: its tables begin with {self.name}/"
            )

    @property
    def served(self) -> list[ServedUseCase]:
        """Its services that answer with scores."""
        return [one for one in self.services if isinstance(one, ServedUseCase)]

    @property
    def searched(self) -> list[SearchedUseCase]:
        """Its services that answer with what an index finds."""
        return [one for one in self.services if isinstance(one, SearchedUseCase)]
