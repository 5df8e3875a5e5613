"""With a server, each snapshot is on it too, and it is the server that is checked and asked."""

import socket
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from qdrant_client import QdrantClient

from convergence.errors import ConvergenceError, IndexMissing, ServiceError, SettingsError
from convergence.search.backends import VectorIndex
from convergence.search.qdrant_server_index import ServerIndex, connect
from convergence.search.server_release import ServerRelease
from convergence.search.snapshots import Snapshots
from resources.environments import Settings, resources
from tests.convergence.search.index_points import made, units

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

FIRST, SECOND = "1" * 64, "2" * 64
POINTS = {"text": made(40), "image": made(20, seed=1)}


@pytest.fixture
def release() -> Iterator[ServerRelease]:
    client = QdrantClient(":memory:")
    yield ServerRelease(client, "search")
    client.close()


@pytest.fixture
def served(tmp_path: Path, release: ServerRelease) -> Snapshots:
    return Snapshots(tmp_path / "index", release)


def ranked(snapshots: Snapshots, version: str) -> dict[str, list[list[str]]]:
    with snapshots.opened(version) as snapshot:
        return {
            modality: [[h.item_id for h in index.dense(v.tolist(), 10)] for v in units(20, index.dimension, seed=9)]
            + [[h.item_id for h in index.sparse([n * 300_000_000], [1.0], 10)] for n in range(12)]
            for modality, index in snapshot.indexes.items()
        }


def test_the_server_finds_what_the_embedded_index_finds(served: Snapshots) -> None:
    served.build(FIRST, POINTS, {})
    with served.opened(FIRST) as snapshot:
        assert all(isinstance(index, ServerIndex) for index in snapshot.indexes.values())
        assert snapshot.about["counts"] == {"text": 40, "image": 20}
    assert ranked(served, FIRST) == ranked(Snapshots(served.root), FIRST)
    assert (served.engine["name"], Snapshots(served.root).engine["name"]) == ("qdrant", "qdrant-edge-py")


def test_it_is_the_server_that_is_checked_and_a_refused_index_is_none(served: Snapshots) -> None:
    def refuse(indexes: Mapping[str, VectorIndex]) -> Mapping[str, object]:
        assert {modality: (type(i), i.count()) for modality, i in indexes.items()} == {
            "text": (ServerIndex, 40), "image": (ServerIndex, 20),
        }  # fmt: skip
        raise ConvergenceError("it finds too little")

    with pytest.raises(ConvergenceError, match="too little"):
        served.build(FIRST, POINTS, {}, check=refuse)
    assert served.versions() == []


def test_a_snapshot_of_before_there_was_a_server_is_put_there(served: Snapshots, release: ServerRelease) -> None:
    embedded = Snapshots(served.root)
    embedded.build(FIRST, POINTS, {})
    with pytest.raises(IndexMissing, match="not on the server: build it first"):
        served.switch(FIRST, expected=None)
    assert embedded.live() is None
    assert served.build(FIRST, POINTS, {}).reused
    assert release.opened(FIRST)["text"].count() == 40


def test_the_servers_aliases_follow_what_is_live(served: Snapshots, release: ServerRelease) -> None:
    for version in (FIRST, SECOND):
        served.build(version, POINTS, {})
        served.switch(version, expected=None if version == FIRST else FIRST)
        assert release.live() == {m: f"search-{m}-{version[:12]}" for m in POINTS}


def test_what_leaves_the_disk_leaves_the_server(served: Snapshots, release: ServerRelease) -> None:
    versions = [FIRST, SECOND, "3" * 64]
    for before, version in zip([None, *versions], versions, strict=False):
        served.build(version, POINTS, {})
        served.switch(version, expected=before)
    assert served.prune() == [FIRST]
    with pytest.raises(IndexMissing, match="111111111111 is not on the server"):
        release.opened(FIRST)
    assert release.opened(SECOND)["text"].count() == 40


def test_another_home_on_the_same_server_removes_nothing_of_this_one(
    served: Snapshots, release: ServerRelease, tmp_path: Path
) -> None:
    served.build(FIRST, POINTS, {})
    elsewhere = Snapshots(tmp_path / "elsewhere", release)
    elsewhere.build(SECOND, POINTS, {})
    elsewhere.prune(SECOND)
    assert release.opened(FIRST)["text"].count() == 40


def test_a_server_that_does_not_answer_is_one_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        indexes = resources(Settings(home=tmp_path, qdrant=url))["indexes"]
        with pytest.raises(ServiceError, match="of CONVERGENCE_QDRANT does not answer: start it, or unset"):
            indexes.snapshots("search").build(FIRST, POINTS, {})
    assert indexes.snapshots("search").versions() == []


@pytest.mark.parametrize("url", ["host:6333", "ftp://host", "http://"])
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="CONVERGENCE_QDRANT is not of the form"):
        connect(url)
