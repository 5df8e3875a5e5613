"""The search page in a browser: words, filters, pages, images, keys, and texts that want to be more than texts."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from convergence.search.items import Item
from convergence.serving.access import Token, _digest
from tests.convergence.browser import Page, browser
from tests.convergence.search.small_world import COLOURS, FIRST, Entry, World, picture, squares
from tests.convergence.serving.search_service import Service, search_service

HOSTILE = (
    "zebra </script><script>document.title='taken'</script><img src=http://elsewhere.example/x.png "
    "onerror=\"document.title='taken'\"><a href=\"javascript:document.title='taken'\">zebra</a>&amp;"
)
CARDS = "document.querySelectorAll('#results .card').length"


def hostile() -> list[Entry]:
    """Items of which every text is hostile, where a contract might let it pass."""
    day = str(FIRST)
    return [
        Entry(HOSTILE, "text", Item(day, title=HOSTILE, text=HOSTILE, licence=HOSTILE, parent_id=HOSTILE)),
        Entry("hostile-code", "code", Item(day, title=HOSTILE, code=HOSTILE, language=HOSTILE)),
        Entry("javascript:alert(1)", "code", Item(day, code="zebra = '<img src=//elsewhere.example/y>'",
              language="html")),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("home"))
    world.release(world.build([*squares(world.objects, 12), *hostile()]))
    return world


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with search_service(world) as running:
        yield running


@pytest.fixture(scope="module")
def opened(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    origin = f"http://127.0.0.1:{service.port}/"
    with browser(tmp_path_factory.mktemp("profile")) as page:
        page.size(1440, 900)
        page.open(origin, "document.querySelector('#modalities input') !== null")
        yield page
        page.value("1")  # what was said since is read
        own = (origin, f"blob:{origin}", "about:", "data:image/svg+xml")  # the last: the browser's icon of a calendar
        assert [url for url in page.requested if not url.startswith(own)] == []
        assert page.said == []


@pytest.fixture
def page(opened: Page) -> Page:
    opened.value("document.activeElement.blur(); location.hash = ''")
    opened.wait("at('status').innerText.includes('Type what')")
    return opened


def search(page: Page, words: str) -> None:
    page.press("/")
    page.type(words)
    page.press("Enter")
    page.wait(f"location.hash.length > 1 && !view.classList.contains('busy') && {CARDS} > 0")


def kinds(page: Page) -> set[str]:
    return set(page.value("[...document.querySelectorAll('.card .tag:first-child')].map((tag) => tag.innerText)"))


def test_words_show_thumbnails_code_relevance_and_what_matched(page: Page) -> None:
    search(page, "red square numbers")
    assert kinds(page) == {"image", "text", "code"}
    page.value("document.querySelector('.picture img').scrollIntoView()")
    page.wait("[...document.querySelectorAll('.picture img')].some((img) => img.complete && img.naturalWidth > 0)")
    assert {"red", "square"} <= set(page.value("[...document.querySelectorAll('mark')].map((m) => m.innerText)"))
    assert page.value("document.querySelector('pre .k').innerText") == "def"
    assert page.value("[...document.querySelectorAll('meter')].every((m) => m.value >= 0 && m.value <= 1)")
    assert "of the best 39" in page.text()


def test_the_kinds_and_days_narrow_what_is_shown_and_stand_in_the_address(page: Page) -> None:
    search(page, "blue")
    page.press_mouse("document.querySelector('#modalities input[value=image]').parentElement")
    page.wait("location.hash.includes('modality=image') && document.querySelectorAll('.card.text').length === 0")
    page.wait(f"{CARDS} === 12 && !view.classList.contains('busy')")
    assert kinds(page) == {"image"}
    page.value("at('from').value = '2024-05-03'; at('from').dispatchEvent(new Event('change', {bubbles: true}))")
    page.wait(f"location.hash.includes('from=2024-05-03') && {CARDS} === 10")
    page.value("history.back()")
    page.wait(f"{CARDS} === 12")


def test_next_leads_to_other_results_and_back_to_those_before(page: Page) -> None:
    search(page, "green")
    first = page.value("at('results').innerText")
    page.click("Next page")
    page.wait("at('status').innerText.startsWith('21–')")
    assert page.value("at('results').innerText") != first
    page.value("history.back()")
    page.wait("at('status').innerText.startsWith('1–')")
    assert page.value("at('results').innerText") == first


@pytest.mark.parametrize("how", ["choose", "drop"])
def test_an_image_of_ones_own_is_searched_by(page: Page, tmp_path: Path, how: str) -> None:
    file = tmp_path / f"{how}.png"
    file.write_bytes(picture(COLOURS["blue"]))
    if how == "choose":
        page.choose("#file", file)
    else:
        page.drop(file, 500, 500)
    page.wait(f"at('asked').innerText.includes('Similar to {how}.png') && {CARDS} > 0")
    assert page.value("document.querySelector('.card.image h2').innerText") == "blue square"


def test_a_file_that_is_no_image_is_refused_in_words(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "notes.png"
    file.write_text("no image")
    page.choose("#file", file)
    page.wait("at('status').className === 'failed'")
    assert "not an image of a known format" in page.value("at('status').innerText")
    page.said.clear()  # the browser notes every answer of 415, which is what was wanted


def test_similar_leads_from_an_item_to_others_like_it(page: Page) -> None:
    search(page, "blue square")
    page.press_mouse("document.querySelector('#modalities input[value=image]').parentElement")
    page.wait(f"{CARDS} === 12 && !view.classList.contains('busy')")
    name = page.value("document.querySelector('.card a.similar').getAttribute('href')")
    page.click("similar")
    page.wait("at('asked').innerText.includes('Similar to image-')")
    page.wait(f"{CARDS} === 11")
    assert name.startswith("#")
    assert page.value("document.querySelector('.card h2').innerText") == "blue square"


def test_it_is_used_with_the_keys_alone(page: Page) -> None:
    search(page, "red")
    page.press("/")
    page.press("ArrowDown")
    assert page.value("document.activeElement.className") == "similar"
    page.press("Enter")
    page.wait("location.hash.includes('like=')")
    page.press("/")
    page.press("Escape")
    page.wait("location.hash === '' && at('status').innerText.includes('Type what')")


def test_hostile_texts_are_shown_and_not_obeyed(page: Page) -> None:
    search(page, "zebra")
    page.wait("at('results').innerText.includes('elsewhere.example')")
    shown = page.text()
    assert "<script>document.title='taken'</script>" in shown
    assert "onerror=" in shown
    assert (
        page.value("document.querySelectorAll('#view script, #view img[src*=elsewhere], #view a[href^=java]').length")
        == 0
    )
    assert page.value("[...document.querySelectorAll('#view a')].every((a) => a.getAttribute('href').startsWith('#'))")
    assert "taken" not in page.value("document.title")
    page.value(f"location.hash = 'like=' + encodeURIComponent({json.dumps('javascript:alert(1)')})")
    page.wait("at('asked').innerText.includes('javascript:alert(1)')")
    page.value(f"location.hash = 'q=' + encodeURIComponent({json.dumps(HOSTILE)})")
    page.wait(f"query.value.includes('onerror') && {CARDS} > 0")
    assert page.value("document.title").endswith(" - search")


def test_it_fits_a_phone(page: Page) -> None:
    search(page, "red square numbers")
    page.size(390, 844)
    try:
        assert page.value("document.documentElement.scrollWidth") <= 390
        assert page.value("document.querySelector('.card').getBoundingClientRect().width") > 300
    finally:
        page.size(1440, 900)


def test_when_the_index_of_a_page_is_gone_it_says_so_and_offers_the_first(page: Page) -> None:
    search(page, "red")
    page.value("location.hash = 'q=red&cursor=bm9uZQ=='")
    page.wait("at('status').className === 'failed'")
    assert "cursor" in page.value("at('status').innerText")
    page.said.clear()


def test_a_service_that_wants_a_token_is_asked_with_the_one_that_is_given(world: World, tmp_path: Path) -> None:
    token = "reader-token-0001"
    with (
        search_service(world, Token("r", "reader", _digest(token))) as guarded,
        browser(tmp_path / "profile") as page,
    ):
        page.open(f"http://127.0.0.1:{guarded.port}/#q=red&modality=image", "at('status').className === 'failed'")
        page.press_mouse("document.querySelector('#status input')")
        page.type(token)
        page.press("Enter")
        page.wait(f"{CARDS} === 12")
        page.wait("document.querySelector('.picture img')?.naturalWidth > 0")
        assert page.value("document.querySelector('.picture img').src.startsWith('blob:')")
        assert token not in page.value("location.href + document.cookie + JSON.stringify(localStorage)")
