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
IN_FIRST, IN_SECOND = {"text": 30, "image": 20}, {"text": 30, "code": 10}


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
    release.switch(FIRST, IN_FIRST)
    calls: list[Any] = []
    moved = client.update_collection_aliases
    client.update_collection_aliases = lambda operations: calls.append(operations) or moved(operations)  # pyright: ignore
    release.switch(SECOND, IN_SECOND)
    release.switch(SECOND, IN_SECOND)
    assert len(calls) == 1  # the second time there was nothing to move
    assert release.live() == {m: f"search-{m}-{SECOND[:12]}" for m in ("text", "code")}
    found = release.opened(SECOND, IN_SECOND)
    assert {m: (i.dimension, i.count()) for m, i in found.items()} == {"text": (4, 30), "code": (8, 10)}


def test_an_index_that_was_opened_stays_of_its_version_through_a_switch(release: ServerRelease) -> None:
    release.switch(FIRST, IN_FIRST)
    text = release.opened(FIRST, IN_FIRST)["text"]
    before = text.dense(units(1)[0].tolist(), 9)
    release.switch(SECOND, IN_SECOND)
    assert text.dense(units(1)[0].tolist(), 9) == before


def test_a_second_build_sends_nothing(release: ServerRelease) -> None:
    assert release.build(FIRST, {"text": made(30), "image": made(20, seed=1)}) == 0


def test_what_a_killed_build_left_is_made_anew(release: ServerRelease, client: QdrantClient) -> None:
    ServerIndex(client, f"search-text-{FIRST[:12]}").delete(made(30)["item_id"].head(9).to_list())
    assert release.build(FIRST, {"text": made(30), "image": made(20, seed=1)}) == 30
    assert release.opened(FIRST, IN_FIRST)["text"].count() == 30


@pytest.mark.parametrize("counts", [{"text": 31}, {"text": 30, "code": 1}], ids=["an item", "a modality"])
def test_a_version_that_lacks_something_is_not_opened(release: ServerRelease, counts: dict[str, int]) -> None:
    with pytest.raises(IndexMissing, match="111111111111 is not whole on the server"):
        release.opened(FIRST, counts)


def test_an_index_of_nothing_is_whole(release: ServerRelease) -> None:
    release.build("3" * 64, {"text": made(0)})
    assert release.opened("3" * 64, {}) == {}


def test_aliases_of_others_are_left_alone(release: ServerRelease, client: QdrantClient) -> None:
    from qdrant_client import models

    theirs = models.CreateAlias(collection_name=f"search-text-{FIRST[:12]}", alias_name="search-stable")
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=theirs)])
    release.switch(SECOND, IN_SECOND)
    assert "search-stable" in {alias.alias_name for alias in client.get_aliases().aliases}


def test_only_the_versions_that_are_named_leave_and_other_use_cases_are_left_alone(
    release: ServerRelease, client: QdrantClient
) -> None:
    ServerRelease(client, "other").build(FIRST, {"text": made(5)})
    assert release.remove() == []
    assert release.remove(FIRST) == [f"search-image-{FIRST[:12]}", f"search-text-{FIRST[:12]}"]
    assert release.opened(SECOND, IN_SECOND)["text"].count() == 30
    assert ServerRelease(client, "other").opened(FIRST, {"text": 5})["text"].count() == 5
