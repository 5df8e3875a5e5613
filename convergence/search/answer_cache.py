"""Answers by what was asked of which snapshot: after a switch the key is another, so nothing stale can come back."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import Any

from convergence.errors import SearchError
from convergence.search.query import Found, Picture, Query
from convergence.search.searching import Searcher

MOST = 512  # answers; a page of results has some 20 kB


class AnswerCache:
    """The answers that were given last; threads may share it. `observe` is told of each question whether it was known.

    Two who ask the same at once may both search: that costs less than to let one wait for the other.
    """

    def __init__(self, observe: Callable[[bool], None] = lambda known: None, *, most: int = MOST) -> None:
        self._observe, self._most = observe, most
        self._kept: OrderedDict[tuple[str, Query], Found] = OrderedDict()
        self._lock = Lock()

    def search(self, searcher: Searcher, query: Query) -> Found:
        """What the searcher answers, or has answered before; raises what it raises."""
        # the pixels of a picture hold a whole upload, which is not to be kept for as long as its answer
        kept = query if query.image is None else replace(query, image=Picture(query.image.sha256, _gone))
        key = (searcher.version, kept)
        with self._lock:
            found = self._kept.get(key)
            if found:
                self._kept.move_to_end(key)
        self._observe(found is not None)
        if found is None:
            found = searcher.search(query)
            with self._lock:
                self._kept[key] = found
                while len(self._kept) > self._most:
                    self._kept.popitem(last=False)
        return found


def _gone() -> Any:
    raise SearchError("the pixels of an answered picture are not kept: send it again")
