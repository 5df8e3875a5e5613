"""The ids of what is being done: a log line and an exemplar take them from here, whoever is writing.

They lie in one dictionary for each request or run, which what is called from there may add to, also in another thread.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_NONE: Mapping[str, str | int] = MappingProxyType({})
_EXEMPLAR = 64  # characters of an id: an exemplar's names and values have 128 together

_bound: ContextVar[dict[str, str | int] | None] = ContextVar("bound", default=None)


@contextmanager
def bound(**ids: str | int | None) -> Iterator[None]:
    """What is done within is about these, besides what it was about already."""
    token = _bound.set({**current(), **_given(ids)})
    try:
        yield
    finally:
        _bound.reset(token)


def bind(**ids: str | int | None) -> None:
    """Add to what the innermost `bound` is about; nothing outside of one."""
    if (there := _bound.get()) is not None:
        there.update(_given(ids))


def current() -> Mapping[str, str | int]:
    """The ids of what is being done."""
    return _bound.get() or _NONE


def exemplar(name: str) -> dict[str, str] | None:
    """The id of that name and the trace, for a histogram; None where no trace is kept that could be looked up."""
    there = current()
    if "trace_id" not in there:
        return None
    return {key: str(there[key])[:_EXEMPLAR] for key in ("trace_id", name) if key in there}


def _given(ids: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in ids.items() if value is not None}
