"""With a server, each snapshot is on it too, and it is the server that is checked and asked."""

import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from qdrant_client import QdrantClient

from convergence.errors import ConvergenceError, IndexMissing, ServiceError, SettingsError
from convergence.search.backends import VectorIndex
from convergence.search.qdrant_server_index import ServerIndex, connect
from convergence.search.server_release import ServerRelease
from convergence.search.snapshots import Snapshots
from resources.configured import resources
from resources.environments import Settings
from tests.convergence.search.index_points import made, units

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

FIRST, SECOND = "1" * 64, "2" * 64
POINTS = {"text": made(40), "image": made(20, seed=1)}
COUNTS = {"text": 40, "image": 20}


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


def test_it_is_the_server_that_is_checked_and_a_refused_index_is_nowhere(
    served: Snapshots, release: ServerRelease
) -> None:
    def refuse(indexes: Mapping[str, VectorIndex]) -> Mapping[str, object]:
        assert {modality: (type(i), i.count()) for modality, i in indexes.items()} == {
            "text": (ServerIndex, 40), "image": (ServerIndex, 20),
        }  # fmt: skip
        raise ConvergenceError("it finds too little")

    with pytest.raises(ConvergenceError, match="too little"):
        served.build(FIRST, POINTS, {}, check=refuse)
    assert served.versions() == []
    with pytest.raises(IndexMissing):
        release.opened(FIRST, COUNTS)


def test_a_snapshot_of_before_there_was_a_server_is_put_there(served: Snapshots, release: ServerRelease) -> None:
    embedded = Snapshots(served.root)
    embedded.build(FIRST, POINTS, {})
    with pytest.raises(IndexMissing, match="not whole on the server"):
        served.switch(FIRST, expected=None)
    assert embedded.live() is None
    assert served.build(FIRST, POINTS, {}).reused
    assert release.opened(FIRST, COUNTS)["text"].count() == 40


def test_the_servers_aliases_follow_what_is_live(served: Snapshots, release: ServerRelease) -> None:
    for version in (FIRST, SECOND):
        served.build(version, POINTS, {})
        served.switch(version, expected=None if version == FIRST else FIRST)
        assert release.live() == {m: f"search-{m}-{version[:12]}" for m in POINTS}


def test_an_index_that_is_not_whole_on_the_server_does_not_go_live(served: Snapshots, release: ServerRelease) -> None:
    for version in (FIRST, SECOND):
        served.build(version, POINTS, {})
    served.switch(FIRST, expected=None)
    release.opened(SECOND, COUNTS)["text"].delete(POINTS["text"]["item_id"].head(3).to_list())
    recorded: list[str] = []
    with pytest.raises(IndexMissing, match="222222222222 is not whole"):
        served.switch(SECOND, expected=FIRST, record=lambda: recorded.append(SECOND))
    live = served.live()
    assert (live.version if live else None, recorded, release.live()["text"]) == (
        FIRST,
        [],
        f"search-text-{FIRST[:12]}",
    )


def test_a_switch_to_what_is_live_moves_aliases_that_were_left_behind(
    served: Snapshots, release: ServerRelease
) -> None:
    served.build(FIRST, POINTS, {})
    Snapshots(served.root).switch(FIRST, expected=None)  # as if killed before the aliases
    assert release.live() == {}
    served.switch(FIRST, expected=FIRST)
    assert release.live() == {m: f"search-{m}-{FIRST[:12]}" for m in POINTS}


def test_builders_of_one_version_at_once_leave_it_whole(served: Snapshots, release: ServerRelease) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: served.build(FIRST, POINTS, {}), range(4)))
    assert {m: index.count() for m, index in release.opened(FIRST, COUNTS).items()} == COUNTS


def test_what_leaves_the_disk_leaves_the_server(served: Snapshots, release: ServerRelease) -> None:
    versions = [FIRST, SECOND, "3" * 64]
    for before, version in zip([None, *versions], versions, strict=False):
        served.build(version, POINTS, {})
        served.switch(version, expected=before)
    assert served.prune() == [FIRST]
    with pytest.raises(IndexMissing, match="111111111111 is not whole on the server"):
        release.opened(FIRST, COUNTS)
    assert release.opened(SECOND, COUNTS)["text"].count() == 40


def test_another_home_on_the_same_server_removes_nothing_of_this_one(
    served: Snapshots, release: ServerRelease, tmp_path: Path
) -> None:
    served.build(FIRST, POINTS, {})
    elsewhere = Snapshots(tmp_path / "elsewhere", release)
    elsewhere.build(SECOND, POINTS, {})
    elsewhere.prune(SECOND)
    assert release.opened(FIRST, COUNTS)["text"].count() == 40


def test_a_server_that_does_not_answer_is_one_clear_error(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        indexes = resources(Settings(home=tmp_path, qdrant=url))["indexes"]
        with pytest.raises(ServiceError, match="of CONVERGENCE_QDRANT does not answer: start it, or unset"):
            indexes.snapshots("search").build(FIRST, POINTS, {})
    assert indexes.snapshots("search").versions() == []


@pytest.mark.parametrize(
    "url", ["host:6333", "ftp://host", "http://", "http://[::1", "http://h:abc", "http://h:99999", "http://u:p@h"]
)
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="CONVERGENCE_QDRANT is not of the form") as told:
        connect(url)
    assert "u:p" not in str(told.value)


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (401, "{}", ServiceError, "refuses info .401.*CONVERGENCE_QDRANT_KEY"),
        (404, "nothing", IndexMissing, "no such collection"),
        (500, "{}", ServiceError, "refuses info .500.: see its log$"),
        (200, "<html>", ServiceError, "does not answer info as Qdrant does"),
    ],
)
def test_whatever_a_server_answers_is_an_error_of_ours(
    status: int, body: str, error: type[ConvergenceError], said: str
) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(error, match=said) as told:
            connect(f"http://127.0.0.1:{server.server_port}", timeout=5).info()
        assert str(server.server_port) not in str(told.value)
        server.shutdown()
