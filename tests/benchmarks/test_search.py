"""The vectors that search is measured on are what the report says, and a small index of them answers exactly."""

from pathlib import Path

import numpy as np

from benchmarks.search import DIMENSION, clustered, hybrid, points, recall, terms
from convergence.search.qdrant_edge_index import EdgeIndex


def test_vectors_have_length_one_and_their_nearest_is_of_the_same_cluster():
    vectors, queries = clustered(6_000, 0), clustered(50, 1)
    assert vectors.shape == (6_000, DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert 0.5 < float(np.median((queries @ vectors.T).max(axis=1))) < 0.75


def test_an_index_of_them_answers_all_kinds_of_queries(tmp_path: Path):
    vectors, index = clustered(300, 0), EdgeIndex.create(tmp_path / "i", DIMENSION)
    index.upsert(points(vectors))
    found = [int(hit.item_id.removeprefix("item-")) for hit in index.dense(vectors[7].tolist(), 10)]
    exact = np.argsort(-(vectors @ vectors[7]))[:10]
    assert recall(exact[None], [found]) == 1.0
    assert hybrid(index, vectors[7].tolist(), terms(300, 0)[7])[0] == "item-000007"
    index.close()
