"""Feature vectors for requests: from the store where it answers in time, otherwise the view's defaults, and said so.

After a failure the store is left alone for a moment, so that a slow one costs one request its patience and not all.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convergence.features.online import OnlineView, Row, States
from convergence.features.online_state import StateMismatch
from convergence.features.online_store import Meta, OnlineStore, OnlineStoreError

PAUSE = 0.5  # seconds without a question after one that failed


@dataclass(frozen=True)
class Vectors:
    """Features of some rows, shape (rows, features), and where they came from.

    `hits`: whether a state of every entity of the row was found. `degraded`: why the values are defaults, or may be.
    `meta`: what the states had consumed; None where none was read.
    """

    values: npt.NDArray[np.float64]
    hits: list[bool]
    degraded: str | None
    meta: Meta | None


class FeatureReader:
    """Reads states and computes vectors; `store` has a client with a timeout. Threads may share it."""

    def __init__(
        self,
        online: OnlineView,
        store: OnlineStore,
        *,
        pause: float = PAUSE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.online, self.store = online, store
        self._pause, self._clock = pause, clock
        self._closed_until = 0.0
        self._failure = ""

    def vectors(self, namespace: str | None, rows: Sequence[Row]) -> Vectors:
        """The features of rows as of their arrival. Never fails for the store's sake: defaults are what the view gives
        for an entity of which nothing is known (of the row itself: counts 1, means its own amount; labels: 0 and null).
        """
        wanted = [self.online.keys(row) for row in rows]
        states: States = {}
        meta, degraded = None, self._failure if self._clock() < self._closed_until else None
        if namespace is None:
            degraded = "no namespace of this feature view was ever filled"
        if degraded is None:
            try:
                reading = self.store.read(namespace or "", [key for keys in wanted for key in keys])
                states, meta = reading.states, reading.meta
                if reading.lost:
                    degraded = "the online store has evicted keys since it was filled"
                elif any(row["event_time"] < meta.floor for row in rows):
                    degraded = "a transaction is older than the online state reaches back"
            except (OnlineStoreError, StateMismatch) as error:
                degraded = self._failure = str(error)
                self._closed_until = self._clock() + self._pause
        hits = [all(key in states for key in keys) for keys in wanted]
        return Vectors(self.online.vectors(rows, states), hits, degraded, meta)
