"""BM25 vectors times IDF are BM25, as its formula says; identifiers are found whole and in parts."""

import subprocess
import sys
from collections import Counter
from math import log
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.search.backends import EVERYTHING
from convergence.search.qdrant_edge_index import EdgeIndex
from convergence.search.sparse import Bm25
from tests.convergence.search.index_points import made

WORDS = ["file", "parse", "tree", "json", "house", "river"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join)
BM25 = Bm25(average=6)


def terms(text: str) -> set[int]:
    return set(BM25.query(text).indices)


@settings(deadline=None)
@given(
    documents=st.lists(TEXTS, min_size=1, max_size=8),
    k1=st.floats(0.1, 3),
    b=st.floats(0, 1),
    average=st.floats(1, 50),
    query=TEXTS,
)
def test_the_product_of_both_vectors_and_the_idf_is_bm25(
    documents: list[str], k1: float, b: float, average: float, query: str
) -> None:
    model = Bm25(average, k1, b)
    asked = dict(zip(*model.query(query), strict=True))
    holding = Counter(word for text in documents for word in set(text.split()))
    for text in documents:
        weights = dict(zip(*model.document(text), strict=True))
        found, expected = 0.0, 0.0
        for word in set(query.split()):
            idf = log(1 + (len(documents) - holding[word] + 0.5) / (holding[word] + 0.5))
            (token,) = model.query(word).indices
            found += asked[token] * weights.get(token, 0.0) * idf
            tf, length = text.split().count(word), len(text.split())
            expected += tf and idf * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / average))
        assert found == pytest.approx(expected, rel=1e-5)


def test_an_index_of_documents_ranks_them_by_bm25(tmp_path: Path) -> None:
    texts = ["parse json file", "json json json tree", "house by the river", "parse the tree of the house", ""]
    vectors = BM25.documents(texts)
    index = EdgeIndex.create(tmp_path / "i", 8)
    points = made(5).with_columns(
        item_id=pl.Series(texts),
        sparse_indices=pl.Series([list(v.indices) for v in vectors]),
        sparse_values=pl.Series([list(v.values) for v in vectors], dtype=pl.List(pl.Float32)),
    )
    index.upsert(points)
    hits = index.sparse(*BM25.query("parsing of a json tree"), 5, EVERYTHING)
    index.close()
    scores = dict.fromkeys(texts, 0.0)
    for word in ("parse", "json", "tree"):
        n = sum(word in text for text in texts)
        for text in texts:
            tf, length = text.count(word), len([w for w in text.split() if w not in ("by", "the", "of")])
            scores[text] += log(1 + (5 - n + 0.5) / (n + 0.5)) * tf * 2.2 / (tf + 1.2 * (0.25 + 0.75 * length / 6))
    expected = sorted(((-round(s, 5), t) for t, s in scores.items() if s))
    assert [(hit.item_id, pytest.approx(hit.score, rel=1e-4)) for hit in hits] == [(t, -s) for s, t in expected]


@pytest.mark.parametrize("name", ["parseJsonFile", "parse_json_file", "ParseJSONFile", "PARSE_JSON_FILE"])
def test_an_identifier_is_found_by_its_parts(name: str) -> None:
    assert terms("parse json file") <= terms(f"def {name}(self):")


def test_an_identifier_is_found_whole_however_it_is_written() -> None:
    assert terms("parseJsonFile") == terms("parse_json_file")
    assert terms("parseJsonFile") - terms("parse json file")


@pytest.mark.parametrize(
    ("one", "other"), [("running", "runs"), ("FILE", "file"), ("naïve", "naive"), ("the file", "file")]
)
def test_words_meet_in_their_stems_without_case_accents_and_stop_words(one: str, other: str) -> None:
    assert terms(one) == terms(other) != set()


@pytest.mark.parametrize("text", ["", "   ", "the of and", "!?,"])
def test_a_text_without_terms_is_an_empty_vector(text: str) -> None:
    assert BM25.document(text) == BM25.query(text) == ([], [])


@given(st.text(max_size=60))
def test_any_text_gives_ascending_32_bit_ids_and_the_same_again(text: str) -> None:
    indices, values = BM25.document(text)
    assert indices == sorted(set(indices))
    assert all(0 <= index < 1 << 32 for index in indices)
    assert all(value > 0 for value in values)
    assert Bm25(average=6).document(text) == (indices, values)
    assert indices == BM25.query(text).indices


def test_ids_are_the_same_in_another_process() -> None:
    program = "from convergence.search.sparse import Bm25; print(Bm25(6).query('parseJsonFile 中文 élan'))"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert run.stdout.strip() == str(BM25.query("parseJsonFile 中文 élan"))


def test_ids_are_those_that_stored_vectors_hold() -> None:
    assert BM25.query("parse json").indices == [35721292, 853919296]


def test_other_settings_have_another_digest() -> None:
    assert len({m.digest for m in (Bm25(6), Bm25(7), Bm25(6, k1=1), Bm25(6, b=0.5), Bm25(6, language="german"))}) == 5
