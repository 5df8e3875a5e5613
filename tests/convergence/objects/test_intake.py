"""An image from its address into the store, or a reason and nothing kept."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from convergence.errors import FetchRefused, ImageRefused
from convergence.objects.fetching import Fetcher
from convergence.objects.images import ImageDecoder
from convergence.objects.intake import take_in
from convergence.objects.store import Objects
from tests.convergence.objects.pictures import encoded, noise

GOOD = encoded(noise(300, 200), "PNG")


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects.at(str(tmp_path / "objects"))


@pytest.fixture(scope="module")
def decoder() -> Iterator[ImageDecoder]:
    with ImageDecoder() as started:
        yield started


def fetcher(folder: Path, objects: Objects, content: bytes) -> Fetcher:
    (folder / "a.png").write_bytes(content)
    return Fetcher(folder, objects)


def test_an_image_is_kept_under_its_hash_with_a_thumbnail(
    tmp_path: Path, objects: Objects, decoder: ImageDecoder
) -> None:
    taken = take_in("published:a.png", sha256(GOOD).hexdigest(), fetcher(tmp_path, objects, GOOD), objects, decoder)
    assert objects.get(taken.sha256) == GOOD
    assert objects.get(taken.thumbnail_sha256).startswith(b"\xff\xd8")
    assert taken[2:] == ("PNG", 300, 200, len(GOOD), True)
    again = take_in(f"object:{taken.sha256}", None, Fetcher(None, objects), objects, decoder)
    assert again == taken._replace(new=False)


@pytest.mark.parametrize(
    ("content", "name", "refusal"),
    [(GOOD, "0" * 64, FetchRefused), (GOOD[:200], None, ImageRefused), (b"no image", None, ImageRefused)],
    ids=["another hash", "truncated", "no image"],
)
def test_what_is_refused_is_not_kept(
    tmp_path: Path, objects: Objects, decoder: ImageDecoder, content: bytes, name: str | None, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        take_in("published:a.png", name, fetcher(tmp_path, objects, content), objects, decoder)
    assert not [p for p in (tmp_path / "objects").rglob("*") if p.is_file()]
