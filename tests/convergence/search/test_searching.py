from collections.abc import Iterator
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from convergence.errors import EncoderMismatch, SearchError
from convergence.search.fusion import Fusion
from convergence.search.items import Item
from convergence.search.query import LONGEST, Picture, Query
from convergence.search.searching import POOL, Searcher
from tests.convergence.search.small_world import COLOURS, FIRST, FUSION, TERMS, Entry, World, encoders, squares

BLUE = Picture("blue", lambda: np.full((4, 4, 3), COLOURS["blue"], np.uint8))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def searcher(world: World) -> Iterator[Searcher]:
    opened = world.searcher(world.build(squares(world.objects)))
    yield opened
    opened.close()


def found(searcher: Searcher, query: Query) -> list[str]:
    return [result.item_id for result in searcher.search(query).results]


def test_words_find_images_texts_and_code_at_once_best_first(searcher: Searcher) -> None:
    answer = searcher.search(Query(text="a red square"))
    assert {result.item_id for result in answer.results[:4]} == {"caption-0-0", "caption-3-0", "image-0", "image-3"}
    assert {result.modality for result in answer.results} == {"image", "text", "code"}
    assert all(one.relevance >= two.relevance for one, two in pairwise(answer.results))
    assert all(0 <= result.relevance <= 1 for result in answer.results)
    assert answer.total == 18


def test_a_result_tells_all_that_is_shown_of_its_item(searcher: Searcher) -> None:
    best = searcher.search(Query(text="red square", modalities=("image",))).results[0]
    assert best.item.title == "red square"
    assert best.item.licence == "CC0"
    assert best.item.object_sha256
    assert best.item.thumbnail_sha256
    assert best.dense is not None
    assert best.sparse is not None
    assert set(best.matched) == {"red", "square"}


def test_code_searches_code_and_what_it_says_is_matched(searcher: Searcher) -> None:
    answer = searcher.search(Query(code="sum(numbers)"))
    assert {result.modality for result in answer.results} == {"code"}
    assert {"sum", "numbers"} <= set(answer.results[0].matched)


def test_code_searches_another_modality_where_it_is_asked_to(searcher: Searcher) -> None:
    assert {r.modality for r in searcher.search(Query(code="red", modalities=("text",))).results} == {"text"}


def test_an_image_finds_images_and_the_texts_that_share_its_space(searcher: Searcher) -> None:
    answer = searcher.search(Query(image=BLUE))
    assert {result.item_id for result in answer.results[:4]} == {"image-2", "image-5", "caption-2-0", "caption-5-0"}
    assert {result.modality for result in answer.results} == {"image", "text"}
    assert all(result.sparse is None and result.matched == () for result in answer.results)


def test_an_image_finds_images_alone_where_texts_have_another_model(world: World) -> None:
    mixed = {**encoders(), "text": encoders("odd")["text"]}
    searcher = world.searcher(world.build(squares(world.objects), mixed))
    assert {result.modality for result in searcher.search(Query(image=BLUE)).results} == {"image"}
    with pytest.raises(SearchError, match="an image does not search text; it searches image"):
        searcher.search(Query(image=BLUE, modalities=("text",)))
    searcher.close()


def test_an_image_does_not_search_code(searcher: Searcher) -> None:
    with pytest.raises(SearchError, match="an image does not search code"):
        searcher.search(Query(image=BLUE, modalities=("code", "image")))


@pytest.mark.parametrize(
    ("first", "last"), [(None, 1), (2, None), (1, 3), (3, 3), (40, 50)], ids=lambda day: f"day-{day}"
)
def test_days_bound_what_is_found_both_included(searcher: Searcher, first: int | None, last: int | None) -> None:
    days = [None if n is None else FIRST + timedelta(days=n) for n in (first, last)]
    answer = searcher.search(Query(text="square", first_day=days[0], last_day=days[1]))
    low, high = days[0] or date.min, days[1] or date.max
    expected = {n for n in range(6) if low <= FIRST + timedelta(days=n) <= high}
    assert {int(result.item_id.split("-")[1]) for result in answer.results} == expected
    assert answer.total == 3 * len(expected)


def test_languages_leave_what_is_of_none_of_them_out(searcher: Searcher) -> None:
    assert searcher.search(Query(text="numbers", languages=frozenset({"python"}))).total == 6
    assert searcher.search(Query(text="numbers", languages=frozenset({"Python"}))).total == 6
    assert searcher.search(Query(text="numbers", languages=frozenset({"cobol"}))).total == 0


def test_an_item_that_is_asked_with_can_be_left_out_of_its_answer(searcher: Searcher) -> None:
    assert "image-2" not in found(searcher, Query(image=BLUE, without=frozenset({"image-2"})))


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_pages_of_a_query_together_are_its_whole_answer_once(searcher: Searcher, size: int) -> None:
    whole = found(searcher, Query(text="a blue square", limit=100))
    paged = [found(searcher, Query(text="a blue square", limit=size, offset=n)) for n in range(0, 18, size)]
    assert [item for page in paged for item in page] == whole
    assert len(set(whole)) == 18
    assert found(searcher, Query(text="a blue square", offset=18)) == []


def test_no_page_reaches_beyond_the_pool_and_equal_items_are_ordered_by_their_id(world: World) -> None:
    many = [Entry(f"t{n:04}", "text", Item(str(FIRST), text="a red square")) for n in range(POOL + 50)]
    searcher = world.searcher(world.build(many))
    assert searcher.search(Query(text="red")).total == POOL
    assert found(searcher, Query(text="red", limit=3, offset=POOL - 3)) == [f"t{n:04}" for n in range(197, 200)]
    searcher.close()


def test_an_item_is_found_by_its_id(searcher: Searcher) -> None:
    item = searcher.item("caption-1-0")
    assert item
    assert item.parent_id == "image-1"
    assert searcher.item("caption-99-0") is None


def test_a_searcher_refuses_an_encoder_that_its_snapshot_was_not_made_with(world: World) -> None:
    with world.snapshots.opened(world.build(squares(world.objects))) as snapshot:
        with pytest.raises(EncoderMismatch, match="was made with the image encoder"):
            Searcher.of(snapshot, encoders("odd"))
        with pytest.raises(EncoderMismatch, match="found none"):
            Searcher.of(snapshot, {"image": encoders()["image"]})


@pytest.mark.parametrize("lacking", ["fusions", "terms"])
def test_a_searcher_refuses_a_modality_without_a_fusion_or_terms(world: World, lacking: str) -> None:
    told = {"fusions": dict.fromkeys(encoders(), FUSION), "terms": dict.fromkeys(encoders(), TERMS)}
    del told[lacking]["code"]
    version = world.build(squares(world.objects))
    with world.snapshots.opened(version) as snapshot, pytest.raises(SearchError, match="no terms for code"):
        Searcher(snapshot, encoders(), told["fusions"], told["terms"])


def test_the_weights_of_a_modality_decide_its_order(world: World) -> None:
    # a word without an axis is near every other one
    texts = {"often": "zebra zebra zebra red", "once": "zebra red red red red", "near": "cow"}
    entries = [Entry(name, "text", Item(str(FIRST), text=text)) for name, text in texts.items()]
    scales = (0.0, 1.0), (0.0, 1.0), (1.0, 0.0)
    with world.snapshots.opened(world.build(entries)) as snapshot:
        searchers = [
            Searcher(snapshot, encoders(), {"text": Fusion(*weights, *scales)}, {"text": TERMS})
            for weights in ((1.0, 0.0), (0.0, 1.0))
        ]
        by_dense, by_sparse = (found(searcher, Query(text="zebra")) for searcher in searchers)
    assert by_dense == ["near", "often", "once"]
    assert by_sparse == ["often", "near", "once"]  # the last of the list, and who is not in it, are equal


def test_a_modality_that_is_not_there_is_refused_with_those_that_are(searcher: Searcher) -> None:
    with pytest.raises(SearchError, match="there are image, text, code"):
        searcher.search(Query(text="red", modalities=("sound",)))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "has none"),
        ({"text": "a", "code": "b"}, "text, code"),
        ({"text": " \n"}, "blank"),
        ({"text": "a" * (LONGEST["text"] + 1)}, "at most 500"),
        ({"code": "a" * (LONGEST["code"] + 1)}, "at most 4,000"),
        ({"text": "a", "first_day": date(2024, 2, 1), "last_day": date(2024, 1, 1)}, "exchange them"),
        ({"text": "a", "limit": 0}, "at least one result"),
        ({"text": "a", "offset": -1}, "before the first"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_query_is_refused(asked: dict[str, object], said: str) -> None:
    with pytest.raises(SearchError, match=said):
        Query(**asked)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"day": "2024-01-01", "colour": "red"}', "{}"])
def test_a_payload_that_is_no_item_is_refused(text: str) -> None:
    with pytest.raises(SearchError, match="no item"):
        Item.from_payload(text)


def test_an_item_survives_its_payload_without_what_is_not_known() -> None:
    item = Item("2024-05-01", text='"\u2028<b>', language="c++")
    assert Item.from_payload(item.as_payload()) == item
    assert "null" not in item.as_payload()
