"""Where an encoder is several models, each of them is judged alone, and fusion is held against the best of them."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from convergence.errors import EncoderMismatch
from convergence.lake.contracts import schema_of
from convergence.search.checkpoints import exported
from convergence.search.composition import DESCRIPTION, TERMS
from convergence.search.corpus import Corpus
from convergence.search.encoders import StoredEncoder, opened
from convergence.search.judgements import measured, places
from convergence_assets.semantic_search.evaluation import (
    FUSED,
    fusions_for,
    fusions_of,
    helped,
    model_alone,
    placings,
    quality,
)
from convergence_assets.semantic_search.training import OutOfFold, learned
from convergence_assets.semantic_search.world import World
from tests.convergence.search.tiny_checkpoints import bert, sentence_transformer

NOUNS = ("bus", "red", "def", "cat", "dog", "sea", "ice", "owl", "pen", "cup")
FUNCTIONS = [f"def {a} {b}" for a in NOUNS for b in NOUNS if a != b]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    here = tmp_path_factory.mktemp("models")
    return [bert(here / "one", length=40), sentence_transformer(here / "two", "cls")]


def encoder(*folders: Path) -> StoredEncoder:
    return exported("+".join(f"folder:{f}" for f in folders), role="code", precision="fp32", max_tokens=24)


@pytest.fixture(scope="module")
def there(folders: list[Path]) -> World:
    """A world whose encoder is two models."""
    return world(encoder(*folders))


def world(stored: StoredEncoder) -> World:
    terms = [TERMS["code"].document(text) for text in FUNCTIONS]
    vectors = opened(stored).encode_documents(FUNCTIONS)
    corpus = Corpus([f"f{n:02}" for n in range(len(FUNCTIONS))], ["python"] * len(FUNCTIONS), vectors, terms)
    return World({"code": corpus}, {"code": stored}, pl.DataFrame(schema=schema_of(OutOfFold)))


QUERIES = pl.DataFrame(
    [
        {"query_set": "cosqa", "query_id": f"q{n}", "query": f"python {text[4:]} {n % 7}", "modality": "code",
         "language": "python", "relevant": [f"f{n:02}"], "without": [], "cluster": f"q{n}",
         "split": ("development", "test")[n % 2]}
        for n, text in enumerate(FUNCTIONS)
    ],
    schema_overrides={"without": pl.List(pl.String)},
)  # fmt: skip


def test_a_model_scores_as_if_it_were_the_encoder(there: World, folders: list[Path]) -> None:
    assert there.models("code") == ["one", "tiny"]
    alone = world(encoder(folders[1]))
    assert alone.models("code") == []
    np.testing.assert_allclose(there.dense(QUERIES, "tiny"), alone.judged(QUERIES).dense, atol=1e-5)


def test_each_model_is_a_way_to_rank_in_both_halves(there: World) -> None:
    rows = quality(there, fusions_of(learned(there, QUERIES)), QUERIES)
    models = {model_alone(name) for name in there.models("code")}
    assert {*rows.filter(split="test")["candidate"]} == {"dense", "sparse", FUSED, *models}
    assert {*rows.filter(split="all")["candidate"]} == {"dense", "sparse", *models}
    in_order = QUERIES.sort("query_id")  # as `quality` asks: other rows of a product round otherwise, and some tie
    for split, judged in (("all", in_order), ("test", in_order.filter(split="test"))):
        for name in there.models("code"):
            placed = places(there.dense(judged, name), there.judged(judged).relevant)
            found = rows.filter(split=split, candidate=model_alone(name))["mrr"].item()
            assert found == pytest.approx(np.mean([1 / at[0] for at in placed]))


def test_a_query_is_encoded_once_however_often_it_is_judged(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    there = World(there.corpora, there.encoders, there.unseen)
    encode = type(opened(there.encoders["code"])).encode_queries
    monkeypatch.setattr(
        "convergence.search.encoders.Encoder.encode_queries",
        lambda self, texts: asked.extend(texts) or encode(self, texts),
    )
    quality(there, fusions_of(learned(there, QUERIES)), QUERIES)
    assert sorted(asked) == sorted(QUERIES["query"])
    again = there.judged(QUERIES)
    vectors = encode(opened(there.encoders["code"]), QUERIES["query"].to_list())
    np.testing.assert_allclose(again.dense, vectors @ there.corpora["code"].vectors.T, atol=1e-6)


def test_a_kind_of_query_that_nothing_was_learned_of_is_ranked_as_its_modality(there: World) -> None:
    described = QUERIES.with_columns(
        query=pl.when(split="test").then(pl.col("query").str.strip_prefix("python ")).otherwise("query")
    )
    rankers = fusions_of(learned(there, described))
    assert DESCRIPTION not in rankers
    assert quality(there, rankers, described).filter(split="test", candidate=FUSED)["queries"].item() > 0


def test_rankers_of_another_encoder_are_no_rankers(there: World, folders: list[Path]) -> None:
    rankers, other = learned(there, QUERIES), encoder(folders[0])
    assert fusions_for(rankers, there.encoders) == fusions_of(rankers)
    for rows, encoders in ((rankers, {"code": other}), (rankers.drop("encoder"), there.encoders)):
        with pytest.raises(EncoderMismatch, match="another encoder of code than is there now: materialize search_ra"):
            fusions_for(rows, encoders)


def test_fusion_is_held_against_each_model_on_the_same_queries(there: World) -> None:
    test = QUERIES.filter(split="test")
    rows = quality(there, fusions_of(learned(there, QUERIES)), QUERIES)
    assert rows.filter(split="all")["fused_gain"].null_count() == 4
    fused = rows.filter(candidate=FUSED)["ndcg_10"].item()
    for row in rows.filter(split="test").iter_rows(named=True):
        assert row["fused_gain"] == pytest.approx(fused - row["ndcg_10"])
    placed = placings(there, fusions_of(learned(there, QUERIES)), test)
    more = measured(placed[FUSED].at)["ndcg_10"] - measured(placed[model_alone("one")].at)["ndcg_10"]
    found = rows.filter(split="test", candidate=model_alone("one"))["fused_gain_error"].item()
    assert found == pytest.approx(more.to_numpy().std(ddof=1) / np.sqrt(test.height))


def test_a_model_alone_that_finds_more_than_fusion_blocks() -> None:
    parts = [("dense", 0.02, 0.01), (model_alone("one"), -0.02, 0.009), (FUSED, 0.0, 0.0)]
    rows = pl.DataFrame(parts, schema=["candidate", "fused_gain", "fused_gain_error"], orient="row")
    verdict = helped(rows.with_columns(query_set=pl.lit("cosqa"), split=pl.lit("test"), queries=250))
    assert verdict.severity.value == "ERROR"
    assert "against dense: one alone" in (verdict.description or "")
