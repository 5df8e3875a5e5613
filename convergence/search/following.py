"""The searcher of the live index: followed from the alias, opened aside, swapped in one step, closed when it is free.

A request holds the searcher that it began with, so each is answered by one snapshot entirely, also in a switch. An
index that cannot be opened is refused, and the one before goes on answering.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from convergence.errors import ConvergenceError, IndexMissing
from convergence.search.searching import Searcher

log = logging.getLogger(__name__)

POLL = 1.0  # seconds


@dataclass(frozen=True)
class State:
    """The version that answers now, None where none does; its items by modality; why a newer one is refused."""

    version: str | None
    counts: Mapping[str, int]
    refused: str | None


@dataclass
class _Held:
    """A searcher and how many requests it answers now."""

    searcher: Searcher
    users: int = 0
    retired: bool = False


class Searching:
    """Holds what answers now; threads may share it.

    Args:
        live: the version that the alias names; None where there is none.
        open_searcher: a searcher of a version; ConvergenceError where it cannot be had.
    """

    def __init__(self, live: Callable[[], str | None], open_searcher: Callable[[str], Searcher]) -> None:
        self._live, self._open = live, open_searcher
        self._held: _Held | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.refused: str | None = None  # why the newest index does not answer

    @contextmanager
    def searcher(self) -> Iterator[Searcher]:
        """The searcher to answer one request with. Raises IndexMissing where none is live."""
        with self._lock:
            held = self._held
            if held is None:
                raise IndexMissing(f"no index answers: {self.refused or 'none was looked for yet'}")
            held.users += 1
        try:
            yield held.searcher
        finally:
            with self._lock:
                held.users -= 1
                free = held.retired and not held.users
            if free:
                held.searcher.close()

    def state(self) -> State:
        """What answers now."""
        held = self._held
        told = (held.searcher.version, held.searcher.counts) if held else (None, {})
        return State(*told, self.refused)

    def refresh(self) -> None:
        """Look once; open and swap where another version is live."""
        try:
            version = self._live()
            if version is None:
                raise IndexMissing("no index is live: build one, `convergence demo --use-case NAME`")
            if self._held is None or self._held.searcher.version != version:
                self._swap(self._open(version))
                log.info("searching index %s", version)
            self.refused = None
        except ConvergenceError as error:
            self._note(str(error))
        except Exception as error:  # whatever it is, requests are answered by what is open, and it is tried again
            # its text may name folders of this machine, and what is noted here is told to whoever asks for health
            self._note(f"{type(error).__name__}, which nobody expected: see the log of the service", error)

    def start(self) -> None:
        """Look now, and then again every POLL seconds, in a thread of its own."""
        self.refresh()
        self._thread = threading.Thread(target=self._follow, name="live-index", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what is open is closed when its last request has ended."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        self._swap(None)

    def _swap(self, searcher: Searcher | None) -> None:
        with self._lock:
            before, self._held = self._held, _Held(searcher) if searcher else None
            if before:
                before.retired = True
            free = before and not before.users  # its last user closes it otherwise; told within the lock, so once
        if before and free:
            before.searcher.close()

    def _note(self, why: str, unexpected: Exception | None = None) -> None:
        if why != self.refused:
            log.error("index not searched: %s", why, exc_info=unexpected)
        self.refused = why

    def _follow(self) -> None:
        while not self._stop.wait(POLL):
            self.refresh()
