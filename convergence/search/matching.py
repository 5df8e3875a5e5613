"""Which words of an item a query has too, in whatever form: compared as the index compares them, by their term ids."""

import re
from collections.abc import Collection
from functools import lru_cache

from convergence.search.sparse import Bm25

MOST = 50  # words of an item
_WORD = re.compile(r"\w+")


def matched_words(terms: Collection[int], text: str, bm25: Bm25) -> tuple[str, ...]:
    """The different words of `text`, as they stand there, that share a term with a query; at most MOST, in order.

    Args:
        terms: ids of the query's terms.
        text: of an item.
        bm25: what both became terms by.
    """
    wanted = frozenset(terms)
    words = dict.fromkeys(_WORD.findall(text))
    return tuple(word for word in words if not wanted.isdisjoint(_terms(bm25, word)))[:MOST]


@lru_cache(maxsize=100_000)
def _terms(bm25: Bm25, word: str) -> tuple[int, ...]:
    return tuple(bm25.query(word).indices)
