"""What the function of a lake asset may return when rows alone do not say everything."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

Describe = Callable[[pl.DataFrame], Mapping[str, Any]]


class Described(NamedTuple):
    """Rows with what they do not say themselves: metadata by partition, and where they come from beside tables.

    `set_aside`: what could not be made into rows, with the columns of `convergence.lake.contracts.REJECTED`; it waits
    in `<table>_rejected` until a run of its partition sets it aside no more, and no partition fails over it.
    """

    rows: pl.DataFrame
    metadata: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    origins: Sequence[str] = ()
    set_aside: pl.DataFrame | None = None


Body = Callable[..., pl.DataFrame | pl.LazyFrame | Described]
