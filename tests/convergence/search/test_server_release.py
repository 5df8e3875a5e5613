"""On a server, too, all modalities are exchanged at once, and what a killed build left is made anew."""

from collections.abc import Iterator
from typing import Any

import pytest
from qdrant_client import QdrantClient

from convergence.errors import IndexMissing
from convergence.search.qdrant_server_index import ServerIndex
from convergence.search.server_release import ServerRelease
from tests.convergence.search.index_points import made, units

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

FIRST, SECOND = "1" * 64, "2" * 64


@pytest.fixture
def client() -> Iterator[QdrantClient]:
    client = QdrantClient(":memory:")
    yield client
    client.close()


@pytest.fixture
def release(client: QdrantClient) -> ServerRelease:
    release = ServerRelease(client, "search")
    release.build(FIRST, {"text": made(30), "image": made(20, seed=1)})
    release.build(SECOND, {"text": made(30, dimension=4), "code": made(10)})
    return release


def test_all_modalities_move_in_one_request(release: ServerRelease, client: QdrantClient) -> None:
    release.switch(FIRST)
    calls: list[Any] = []
    moved = client.update_collection_aliases
    client.update_collection_aliases = lambda operations: calls.append(operations) or moved(operations)  # pyright: ignore
    release.switch(SECOND)
    release.switch(SECOND)
    assert len(calls) == 1  # the second time there was nothing to move
    assert release.live() == {m: f"search-{m}-{SECOND[:12]}" for m in ("text", "code")}
    found = release.opened(SECOND)
    assert {m: (i.dimension, i.count()) for m, i in found.items()} == {"text": (4, 30), "code": (8, 10)}


def test_an_index_that_was_opened_stays_of_its_version_through_a_switch(release: ServerRelease) -> None:
    release.switch(FIRST)
    text = release.opened(FIRST)["text"]
    before = text.dense(units(1)[0].tolist(), 9)
    release.switch(SECOND)
    assert text.dense(units(1)[0].tolist(), 9) == before


def test_a_second_build_sends_nothing(release: ServerRelease) -> None:
    assert release.build(FIRST, {"text": made(30), "image": made(20, seed=1)}) == 0


def test_what_a_killed_build_left_is_made_anew(release: ServerRelease, client: QdrantClient) -> None:
    ServerIndex(client, f"search-text-{FIRST[:12]}").delete(made(30)["item_id"].head(9).to_list())
    assert release.build(FIRST, {"text": made(30), "image": made(20, seed=1)}) == 30
    assert release.opened(FIRST)["text"].count() == 30


def test_a_version_that_is_not_there_is_one_clear_error(release: ServerRelease) -> None:
    with pytest.raises(IndexMissing, match="333333333333 is not on the server"):
        release.switch("3" * 64)


def test_only_the_versions_that_are_named_leave_and_other_use_cases_are_left_alone(
    release: ServerRelease, client: QdrantClient
) -> None:
    ServerRelease(client, "other").build(FIRST, {"text": made(5)})
    assert release.remove() == []
    assert release.remove(FIRST) == [f"search-image-{FIRST[:12]}", f"search-text-{FIRST[:12]}"]
    assert release.opened(SECOND)["text"].count() == 30
    assert ServerRelease(client, "other").opened(FIRST)["text"].count() == 5
