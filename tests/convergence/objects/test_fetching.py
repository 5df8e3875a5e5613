"""Every kind of address has one way, and what has none or leads elsewhere is refused with the reason."""

import os
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import FetchRefused, ObjectError
from convergence.objects.fetching import Fetcher
from convergence.objects.store import Objects
from tests.convergence.objects.web_servers import BODY, web_server


@pytest.fixture
def fetcher(tmp_path: Path) -> Fetcher:
    published = tmp_path / "published"
    (published / "images").mkdir(parents=True)
    (published / "images" / "bus.jpg").write_bytes(BODY)
    (published / "inside.jpg").symlink_to(published / "images" / "bus.jpg")
    (tmp_path / "secret").write_text("secret")
    (published / "outside").symlink_to(tmp_path / "secret")
    (published / "up").symlink_to(tmp_path)
    (published / "circle").symlink_to(published / "circle")
    os.mkfifo(published / "pipe")
    return Fetcher(published, Objects.at(str(tmp_path / "objects")), most=100)


def reason(fetcher: Fetcher, uri: str) -> str:
    with pytest.raises(FetchRefused) as refused:
        fetcher.get(uri)
    return refused.value.reason


@pytest.mark.parametrize("path", ["images/bus.jpg", "inside.jpg", "./images//bus.jpg"])
def test_published_data_are_read_by_their_relative_path(fetcher: Fetcher, path: str) -> None:
    assert fetcher.get(f"published:{path}") == BODY


@pytest.mark.parametrize(
    "path", ["../secret", "images/../../secret", "images/../images/bus.jpg", "/etc/passwd", "outside", "up/secret"]
)
def test_a_path_that_leaves_the_published_data_is_refused(fetcher: Fetcher, path: str) -> None:
    assert reason(fetcher, f"published:{path}") == "a path that leaves the published data"


@pytest.mark.parametrize("path", ["", ".", "images", "no.jpg", "circle", "pipe", "a\0b", "x" * 5000, "%2e%2e/secret"])
def test_what_is_no_file_of_the_published_data_is_refused_at_once(fetcher: Fetcher, path: str) -> None:
    assert reason(fetcher, f"published:{path}") == "no file of the published data"


@pytest.mark.parametrize("uri", [
    "file:///etc/passwd", "ftp://example.com/x", "data:text/plain,x", "gopher://example.com/", "/etc/passwd", "", ":",
    "s3://bucket/key", "\nhttp://example.com", " published:images/bus.jpg", "publishedx:bus.jpg",
])  # fmt: skip
def test_other_kinds_of_addresses_are_refused(fetcher: Fetcher, uri: str) -> None:
    assert "an address of an unknown kind" in reason(fetcher, uri)


def test_an_object_is_fetched_by_its_hash(fetcher: Fetcher) -> None:
    name, _ = fetcher.objects.put(BODY)
    assert fetcher.get(f"object:{name}") == BODY
    with pytest.raises(ObjectError, match="no object"):
        fetcher.get(f"object:{sha256(b'').hexdigest()}")
    with pytest.raises(ObjectError, match="named by its sha256"):
        fetcher.get("object:../secret")


def test_a_simulated_object_is_drawn_where_somebody_draws(fetcher: Fetcher) -> None:
    drawing = Fetcher(None, fetcher.objects, simulated=lambda number: b"%d" % number)
    assert drawing.get("simulated:7") == b"7"
    for number in ("", "-1", "1.5", "x", "1" * 10, "٣"):
        assert reason(drawing, f"simulated:{number}") == "a simulated object has a number"
    assert reason(fetcher, "simulated:7") == "nothing is simulated here"
    assert reason(drawing, "published:x") == "there is no published data here"


def test_what_is_too_large_is_refused_wherever_it_lies(fetcher: Fetcher) -> None:
    assert fetcher.published
    (fetcher.published / "large").write_bytes(bytes(101))
    name, _ = fetcher.objects.put(bytes(101))
    for uri in ("published:large", f"object:{name}"):
        assert reason(fetcher, uri) == "more than 100 bytes"


def test_no_host_may_be_asked_unless_it_is_named(fetcher: Fetcher) -> None:
    with web_server() as server:
        address = f"HTTP://localhost:{server.port}/whole"
        assert "is not among the hosts" in reason(fetcher, address)
        hosts = frozenset({f"localhost:{server.port}"})
        assert "may not be connected to" in reason(Fetcher(None, fetcher.objects, hosts), address)
        assert server.seen == []
        named = Fetcher(None, fetcher.objects, hosts, is_allowed_address={"127.0.0.1", "::1"}.__contains__,
                        resolve=lambda host, port: ["127.0.0.1"])  # fmt: skip
        assert named.get(address) == BODY


@given(uri=st.text(max_size=40) | st.from_regex(r"(published|object|simulated|https?):.*", fullmatch=True))
def test_no_text_does_anything_but_be_refused(uri: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    with pytest.raises(ObjectError):
        Fetcher(folder / "empty", Objects.at(str(folder / "objects"))).get(uri)
