"""How much of the exact answer an index finds: what its graph gains in time it may lose here."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from convergence.errors import SearchError
from convergence.search.backends import VectorIndex

_BLOCK = 64  # queries scored at once: 64 x 100,000 scores are 26 MB


def recall_at(
    index: VectorIndex, item_ids: Sequence[str], vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int
) -> float:
    """The mean share of the exact k best that the index's dense search finds, in [0, 1].

    An item that scores as much as the exact k-th counts as found: which of several equal ones is named says nothing.

    Args:
        item_ids: n, of the items in the index.
        vectors: (n, d), theirs.
        queries: (m, d), m >= 1.

    Raises:
        SearchError: no item or no query, or vectors that do not fit the index.
    """
    wanted = min(k, len(vectors))
    if not wanted or not len(queries):
        raise SearchError(f"recall of {len(queries)} queries over {len(vectors)} items is no number: give some of both")
    place = {item: row for row, item in enumerate(item_ids)}
    shares = []
    for start in range(0, len(queries), _BLOCK):
        block = queries[start : start + _BLOCK]
        scores = block @ vectors.T
        kth = np.partition(scores, len(vectors) - wanted, axis=1)[:, len(vectors) - wanted]
        for query, mine, least in zip(block, scores, kth, strict=True):
            rows = [place[hit.item_id] for hit in index.dense(query.tolist(), wanted)]
            shares.append(float(np.sum(mine[rows] >= least - 1e-6)) / wanted)
    return float(np.mean(shares))
