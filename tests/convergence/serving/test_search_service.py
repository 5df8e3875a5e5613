import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from convergence.observability.logs import log_beside
from convergence.observability.traces import tracer
from convergence.serving.access import Token, _digest
from tests.convergence.objects.pictures import SVG
from tests.convergence.search.small_world import COLOURS, World, encoders, picture, squares
from tests.convergence.serving.search_service import Service, search_service
from tests.convergence.serving.service import ask

PRIVATE = "zanzibar"  # a word of a query that must be nowhere


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(tmp_path_factory.mktemp("home"))
    world.release(world.build(squares(world.objects)))
    return world


@pytest.fixture(scope="module")
def service(world: World) -> Iterator[Service]:
    with search_service(world) as running:
        yield running


def test_words_are_answered_with_all_that_a_card_shows(service: Service, world: World) -> None:
    status, answer = service.get(q="a red square", limit=4)
    assert status == 200
    assert (answer["index_version"], answer["offset"], answer["total"]) == (service.searching.state().version, 0, 18)
    assert set(answer["modalities"]) == {"image", "text", "code"}
    image = next(result for result in answer["results"] if result["modality"] == "image")
    assert image["title"] == "red square"
    assert image["matched"] == ["red", "square"]
    assert image["licence"] == "CC0"
    assert world.objects.has(image["object_sha256"])
    assert 0 < image["relevance"] <= 1
    assert image["dense"] is not None
    assert answer["results"][0]["relevance"] >= answer["results"][-1]["relevance"]


def test_code_comes_highlighted_and_its_tokens_are_the_code(service: Service) -> None:
    result = service.get(code="sum(numbers)")[1]["results"][0]
    assert "".join(text for _, text in result["highlighted"]) == result["code"]
    assert ["k", "def"] in result["highlighted"]


@pytest.mark.parametrize(
    ("asked", "modalities", "days"),
    [
        ({"modality": "image"}, ["image"], range(6)),
        ({"modality": "image, text"}, ["image", "text"], range(6)),
        ({"first": "2024-05-02", "to": "2024-05-03"}, ["code", "image", "text"], (1, 2)),
        ({"language": "python,java"}, ["code"], range(6)),
        ({"modality": "code", "first": "2024-05-06"}, ["code"], (5,)),
    ],
    ids=str,
)
def test_filters_bound_what_is_found(service: Service, asked: dict[str, str], modalities: list[str], days: Any) -> None:
    answer = service.get(q="a square of numbers", **asked)[1]
    assert sorted({result["modality"] for result in answer["results"]}) == modalities
    assert {int(result["day"][-2:]) - 1 for result in answer["results"]} == set(days)


def test_cursors_lead_through_the_whole_answer_once(service: Service) -> None:
    whole, paged, cursor = service.found(q="blue", limit=100), [], ""
    while True:
        _, answer = service.get(q="blue", limit=4, **({"cursor": cursor} if cursor else {}))
        assert answer["offset"] == len(paged)
        paged += [result["item_id"] for result in answer["results"]]
        if not (cursor := answer["next"]):
            break
    assert paged == whole
    assert len(whole) == 18


def test_an_image_that_is_sent_finds_what_looks_like_it(service: Service) -> None:
    for form in ("PNG", "JPEG", "WEBP"):
        status, answer = service.post(picture(COLOURS["blue"], form=form), modality="image", limit=2)
        assert status == 200
        assert {result["item_id"] for result in answer["results"]} == {"image-2", "image-5"}
    status, following = service.post(picture(COLOURS["blue"]), modality="image", limit=2, cursor=_next(service))
    assert (status, following["offset"]) == (200, 2)


def _next(service: Service) -> str:
    return service.post(picture(COLOURS["blue"]), modality="image", limit=2)[1]["next"]


@pytest.mark.parametrize(
    ("item", "first"), [("image-2", "image-5"), ("caption-0-0", "caption-3-0"), ("code-1", "code")]
)
def test_what_is_like_an_item_is_found_by_its_id_and_without_itself(service: Service, item: str, first: str) -> None:
    found = service.found(like=item)
    assert found[0].startswith(first)
    assert item not in found


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 422, "empty"),
        (b"no image at all", 415, "known format"),
        (SVG, 415, "known format"),
        (picture(COLOURS["red"], form="JPEG", size=400)[:900], 422, "truncated"),
        (picture(COLOURS["red"], form="BMP"), 415, "known format"),
    ],
    ids=["empty", "text", "svg", "truncated", "bmp"],
)
def test_a_body_that_is_no_image_gets_a_stable_error(service: Service, content: bytes, status: int, said: str) -> None:
    got, answer = service.post(content)
    assert (got, answer["error"]["code"]) == (status, "image_refused")
    assert said in answer["error"]["message"]
    assert service.found(q="red")


def test_an_image_above_the_limit_is_refused_before_it_is_decoded(service: Service) -> None:
    status, answer = service.post(b"\x89PNG" + b"x" * 2_100_000)
    assert (status, answer["error"]["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({}, "invalid_request"),
        ({"q": ""}, "invalid_request"),
        ({"q": "   "}, "invalid_request"),
        ({"q": "a" * 501}, "invalid_request"),
        ({"q": "a\0b"}, "invalid_request"),
        ({"q": "a\x1b[31m"}, "invalid_request"),
        ({"q": "a", "code": "b"}, "invalid_request"),
        ({"code": "a" * 4_001}, "invalid_request"),
        ({"q": "a", "limit": 0}, "invalid_request"),
        ({"q": "a", "limit": 10**30}, "invalid_request"),
        ({"q": "a", "limit": "many"}, "invalid_request"),
        ({"q": "a", "first": "2024-02-30"}, "invalid_request"),
        ({"q": "a", "first": "1714521600"}, "invalid_request"),
        ({"q": "a", "first": "2024-05-01T00:00:00"}, "invalid_request"),
        ({"q": "a", "first": "2024-05-02", "to": "2024-05-01"}, "invalid_request"),
        ({"q": "a", "modality": "image\0"}, "invalid_request"),
        ({"q": "a", "modality": "x" * 101}, "invalid_request"),
        ({"q": "a", "modality": "sound,image"}, "unknown_modality"),
        ({"q": "a", "colour": "red"}, "invalid_request"),
        ({"q": "a", "cursor": "bm9uZQ=="}, "invalid_cursor"),
        ({"q": "a", "cursor": "%%%"}, "invalid_cursor"),
        ({"q": "a", "cursor": "é"}, "invalid_cursor"),
        ({"q": "a", "cursor": "W10="}, "invalid_cursor"),
        ({"q": "a", "cursor": "W1siYSJdLCJiIiwxXQ=="}, "invalid_cursor"),
        ({"like": "image-0", "modality": "code"}, "not_searchable"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_question_is_422_with_a_stable_code_and_without_what_was_asked(
    service: Service, asked: dict[str, Any], code: str
) -> None:
    status, answer = service.get(**asked)
    assert (status, answer["error"]["code"]) == (422, code), answer
    assert answer["error"].keys() == {"code", "message", "next"}
    assert "Traceback" not in json.dumps(answer)


def test_an_unknown_modality_is_answered_with_those_there_are(service: Service) -> None:
    _, answer = service.get(q="a", modality="sound")
    assert answer["error"]["next"] == "there are image, text, code"


def test_a_cursor_of_another_question_is_refused(service: Service) -> None:
    cursor = service.get(q="red", limit=2)[1]["next"]
    status, answer = service.get(q="blue", limit=2, cursor=cursor)
    assert (status, answer["error"]["code"]) == (422, "invalid_cursor")
    assert service.get(q="red", limit=5, cursor=cursor)[1]["offset"] == 2


def test_an_item_that_is_not_there_is_404(service: Service) -> None:
    assert service.get(like="image-99")[0] == 404
    assert service.get(like="../../etc/passwd")[1]["error"]["code"] == "unknown_item"


def test_an_image_that_the_store_lost_is_503_with_its_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.release(world.build(squares(world.objects, 3)))
    with search_service(world) as service:
        name = service.get(q="red", modality="image")[1]["results"][0]["object_sha256"]
        next((tmp_path / "objects").rglob(name)).unlink()
        status, answer = service.get(like="image-0")
    assert (status, answer["error"]["code"]) == (503, "no_object")
    assert name in answer["error"]["message"]


def test_a_thumbnail_is_an_immutable_jpeg_under_its_hash(service: Service, world: World) -> None:
    address = service.get(q="red", modality="image")[1]["results"][0]["thumbnail"]
    status, content, headers = service.raw(address)
    assert (status, headers["content-type"], headers["x-content-type-options"]) == (200, "image/jpeg", "nosniff")
    assert "immutable" in headers["cache-control"]
    assert content == world.objects.get(address.split("/")[-1].split("?")[0])


def test_only_thumbnails_of_the_live_index_are_given(service: Service, world: World) -> None:
    result = service.get(q="red", modality="image")[1]["results"][0]
    secret = world.objects.put(picture((1, 2, 3), form="JPEG")).sha256
    own = result["thumbnail"].split("/")[-1].split("?")[0]
    for sha256, item in [
        (secret, result["item_id"]), (own, "image-99"), (own, "code-0"), (result["object_sha256"], result["item_id"]),
        ("0" * 64, result["item_id"]), ("..%2f..%2fx", result["item_id"]),
    ]:  # fmt: skip
        assert service.raw(f"/v1/thumbnails/{sha256}?item={item}")[0] == 404


def test_the_page_allows_nothing_but_itself(service: Service) -> None:
    for address, form in {"/": "text/html", "/search.js": "text/javascript", "/search.css": "text/css"}.items():
        status, content, headers = service.raw(address)
        assert status == 200
        assert headers["content-type"].startswith(form)
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert b"http://" not in content.replace(b"http://www.w3.org", b"")
        assert b"innerHTML" not in content


def test_metrics_tell_duration_cache_and_index(service: Service) -> None:
    for _ in range(3):
        service.get(q="green numbers")
    text = ask(service.port, "GET", "/metrics")[1]
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    hits, misses = (float(values[f'convergence_search_cache_total{{known="{known}"}}']) for known in ("true", "false"))
    assert hits >= 2
    assert float(values["convergence_search_cache_hit_ratio"]) == pytest.approx(hits / (hits + misses))
    assert 'convergence_search_seconds_bucket{by="text",le="0.05"}' in text
    assert f'convergence_search_index{{index_version="{service.searching.state().version}"}} 1.0' in text
    assert 'convergence_search_items{modality="image"} 6.0' in text
    assert 'route="/v1/search",status="200"' in text


def test_the_page_of_the_api_has_the_routes_with_examples(service: Service) -> None:
    schema = ask(service.port, "GET", "/openapi.json")[1]
    assert set(schema["paths"]) == {
        "/v1/search", "/v1/search/image", "/v1/thumbnails/{sha256}", "/health", "/metrics"
    }  # fmt: skip
    named = {one["name"] for one in schema["paths"]["/v1/search"]["get"]["parameters"]}
    assert named == {"q", "code", "like", "modality", "from", "to", "language", "limit", "cursor"}
    assert "image/*" in schema["paths"]["/v1/search/image"]["post"]["requestBody"]["content"]


def test_many_at_once_get_what_one_gets_alone(service: Service) -> None:
    words = ["red", "green", "blue", "numbers"] * 10
    alone = {word: service.found(q=word, limit=7) for word in set(words)}
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda word: service.found(q=word, limit=7), words)) == [alone[word] for word in words]


def test_logs_and_spans_name_the_index_and_never_what_was_asked(world: World, tmp_path: Path) -> None:
    with (
        log_beside(tmp_path / "logs"),
        search_service(world, tracer=tracer("test", tmp_path / "traces", None, 1.0)) as service,
    ):
        for asked in ({"q": PRIVATE}, {"code": PRIVATE}, {"q": PRIVATE + "\0"}, {"like": PRIVATE}, {PRIVATE: "a"}):
            service.get(**asked)
        version = service.searching.state().version
        logging.getLogger("convergence").info("done")
    written = "".join(file.read_text() for file in (tmp_path / "logs").rglob("*.jsonl"))
    assert f'"index_version": "{version}"' in written
    assert '"route' in written or "/v1/search" in written
    everything = written + "".join(file.read_text() for file in (tmp_path / "traces").rglob("*") if file.is_file())
    assert PRIVATE not in everything


def test_after_a_switch_no_answer_is_stale_and_an_old_cursor_is_gone(tmp_path: Path) -> None:
    world = World(tmp_path)
    old, new = world.build(squares(world.objects, 3)), world.build(squares(world.objects, 6), encoders("odd"))
    with search_service(world) as service:
        status, health = service.get("/health")
        assert (status, health["usable"], health["index_version"]) == (503, False, None)
        assert "convergence demo" in health["problems"][0]
        status, answer = service.get(q="red")
        assert (status, answer["error"]["code"]) == (503, "no_index")
        assert service.raw("/")[0] == 200
        world.release(old)
        service.searching.refresh()
        before = service.get(q="red", limit=2)[1]
        assert service.get("/health")[1] == {
            "usable": True, "index_version": old, "modalities": {"image": 3, "text": 3, "code": 3}, "problems": []
        }  # fmt: skip
        world.release(new)
        service.searching.refresh()
        after = service.get(q="red", limit=2)[1]
        assert (before["index_version"], before["total"]) == (old, 9)
        assert (after["index_version"], after["total"]) == (new, 18)
        status, gone = service.get(q="red", limit=2, cursor=before["next"])
        assert (status, gone["error"]["code"]) == (410, "index_gone")
        assert "without `cursor`" in gone["error"]["next"]


def test_with_tokens_a_reader_may_search_and_others_may_not(world: World) -> None:
    token = "reader-token-0001"
    with search_service(world, Token("r", "reader", _digest(token)), rate=3) as guarded:
        assert guarded.get(q="red")[0] == 401
        assert guarded.get(q="red", token=token)[0] == 200
        address = guarded.get(q="red", modality="image", token=token)[1]["results"][0]["thumbnail"]
        assert guarded.raw(address)[0] == 401
        assert guarded.raw("/")[0] == 200
        assert guarded.get("/health")[0] == 200
        statuses = [guarded.get(q="red", token=token)[0] for _ in range(20)]
        assert 429 in statuses
