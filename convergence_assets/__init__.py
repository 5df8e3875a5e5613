"""The asset graph: one folder per use case, found without a list. What each declares is told without Dagster."""

from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

from convergence.arrivals.topics import Topic
from convergence.errors import DeclarationError
from convergence.use_case import UseCase

T = TypeVar("T")


@cache
def use_cases() -> tuple[UseCase, ...]:
    """What `use_case.py` of every folder without a leading underscore declares, by name.

    Raises DeclarationError for a name that is not the folder's.
    """
    folders = sorted(found.name for found in iter_modules(__path__) if found.ispkg and not found.name.startswith("_"))
    declared: list[UseCase] = [import_module(f"{__name__}.{name}.use_case").USE_CASE for name in folders]
    for one, folder in zip(declared, folders, strict=True):
        if one.name != folder:
            raise DeclarationError(
                f"convergence_assets/{folder} declares a use case {one.name!r}: name it as its folder"
            )
    return tuple(declared)


def declared(what: Callable[[UseCase], Iterable[T]]) -> list[T]:
    """All that use cases declare of a kind, e.g. `declared(lambda one: one.views)`."""
    return [found for one in use_cases() for found in what(one)]


def topics() -> dict[str, Topic]:
    """Every declared topic by its name."""
    return {topic.name: topic for topic in declared(lambda one: one.topics)}
