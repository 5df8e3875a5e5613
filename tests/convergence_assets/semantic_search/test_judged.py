"""Judged queries: right answers that are in the corpus, and halves that share nothing."""

import polars as pl
import pytest

from convergence_assets.semantic_search.arrivals import history
from convergence_assets.semantic_search.judged import judged, split_of
from resources.environments import Settings


@pytest.fixture(scope="module")
def published() -> pl.DataFrame:
    rows, _ = judged(Settings().published_data)
    return rows


def test_every_published_query_is_there(published: pl.DataFrame) -> None:
    counts = dict(published.group_by("query_set").len().iter_rows())
    assert counts == {"cosqa": 500, "concode": 2_000, "images": 1_070, "captions": 214}


def test_every_right_answer_is_an_item_of_the_modality_that_is_searched(published: pl.DataFrame) -> None:
    messages, _ = history(Settings().published_data)
    of = dict(messages.select("item_id", "modality").collect().iter_rows())
    wanted = published.explode("relevant").select("relevant", "modality")
    assert [m for item, m in wanted.iter_rows() if of[item] != m] == []


def test_no_cluster_is_in_both_halves(published: pl.DataFrame) -> None:
    assert published.group_by("cluster").agg(pl.col("split").n_unique())["split"].max() == 1
    shares = published.group_by("query_set").agg((pl.col("split") == "test").mean())
    assert shares["split"].is_between(0.4, 0.6).all()


def test_a_caption_is_no_answer_to_itself(published: pl.DataFrame) -> None:
    captions = published.filter(query_set="captions")
    assert all(set(without).isdisjoint(right) for without, right in captions.select("without", "relevant").iter_rows())
    assert captions["without"].list.len().to_list() == [1] * captions.height


def test_methods_with_the_same_sentence_are_all_right(published: pl.DataFrame) -> None:
    concode = published.filter(query_set="concode")
    several = concode.filter(pl.col("relevant").list.len() > 1)
    assert several.height > 50
    for sentence, right in several.select("query", "relevant").iter_rows():
        assert concode.filter(query=sentence).height == len(right)


def test_a_half_is_drawn_by_the_name_alone() -> None:
    assert split_of("image-1") == split_of("image-1")
    assert {split_of(f"image-{n}") for n in range(20)} == {"development", "test"}


def test_without_published_data_documentation_finds_functions_and_captions_images(tmp_path) -> None:
    rows, origin = judged(tmp_path)
    assert origin.startswith("SIMULATED")
    assert set(rows["query_set"]) == {"cosqa", "images", "captions"}
