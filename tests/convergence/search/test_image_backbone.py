"""The backbone names what real photographs show, whichever way round they are."""

from pathlib import Path

import numpy as np
import pytest

from convergence.objects.images import ImageDecoder
from convergence.search.image_backbone import SETTINGS, backbone, class_names, seen
from resources.environments import Settings

SHOWN = {
    "000000054718.jpg": ("elephant", "tusker"),
    "000000353072.jpg": ("bear",),
    "000000244592.jpg": ("zebra",),
}


@pytest.fixture(scope="module")
def graph() -> bytes:
    return backbone()


@pytest.fixture(scope="module")
def photographs() -> Path:
    data = Settings().published_data  # raises where CONVERGENCE_DATA names what is not there
    if data is None:
        pytest.skip("no published data on this machine")
    return data / "semantic_search" / "coco_images"


def test_the_class_of_a_photograph_is_what_it_shows(graph: bytes, photographs: Path) -> None:
    with ImageDecoder() as decoder:
        pixels = [decoder.pixels((photographs / name).read_bytes(), **SETTINGS) for name in SHOWN]
    features, logits = seen(graph, pixels)
    assert features.shape == (3, 1280)
    for found, names in zip(logits.argmax(axis=1), SHOWN.values(), strict=True):
        assert any(name in class_names()[found] for name in names)


def test_an_image_and_its_mirror_image_are_seen_alike(graph: bytes) -> None:
    image = np.random.default_rng(0).integers(0, 256, (SETTINGS["size"], SETTINGS["size"], 3), np.uint8)
    for one, other in zip(seen(graph, [image]), seen(graph, [image[:, ::-1]]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3)
