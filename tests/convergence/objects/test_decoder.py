"""What the decoder makes of an image, asked in this process: turned, flattened, without metadata, first frame only."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import Base

from convergence.objects.decoder import FORMATS, THUMBNAIL, answer
from tests.convergence.objects.pictures import encoded, frames, noise


def pixels(content: bytes, size: int) -> np.ndarray:
    facts, body = answer(content, size)
    assert "refused" not in facts, facts
    return np.frombuffer(body, np.uint8).reshape(size, size, 3)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("shape", [(640, 480), (90, 300), (1, 700)])
def test_every_format_is_known_with_its_size_and_a_small_jpeg(kind: str, shape: tuple[int, int]) -> None:
    facts, body = answer(encoded(noise(*shape), kind), 0)
    assert facts == {"format": kind, "width": shape[0], "height": shape[1]}
    small = Image.open(BytesIO(body), formats=["JPEG"])
    assert max(small.size) == min(THUMBNAIL, max(shape))


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (200, 200)])
def test_pixels_are_the_middle_of_the_image_with_its_shorter_side_resized(shape: tuple[int, int]) -> None:
    image = noise(*shape)
    width, height = (side * 64 // 200 for side in shape)
    left, top = (width - 64) // 2, (height - 64) // 2
    oracle = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + 64, top + 64))
    assert np.array_equal(pixels(encoded(image, "PNG"), 64), np.asarray(oracle))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(orientation: int) -> None:
    shown = np.asarray(noise(20, 30))
    undo = {
        1: shown, 2: shown[:, ::-1], 3: shown[::-1, ::-1], 4: shown[::-1], 5: shown.transpose(1, 0, 2),
        6: np.rot90(shown, 1), 7: shown[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(shown, -1),
    }  # fmt: skip
    exif = Image.Exif()
    exif[Base.Orientation.value] = orientation
    content = encoded(Image.fromarray(np.ascontiguousarray(undo[orientation])), "PNG", exif=exif)
    assert answer(content, 0)[0] == {"format": "PNG", "width": 20, "height": 30}
    assert np.array_equal(pixels(content, 20), shown[5:25])


def test_broken_exif_does_not_make_a_whole_picture_unusable() -> None:
    assert answer(encoded(noise(), "JPEG", exif=b"Exif\0\0" + b"\xff" * 50), 0)[0]["width"] == 40


def test_a_thumbnail_says_nothing_of_where_and_by_whom_the_image_was_made() -> None:
    exif = Image.Exif()
    exif[Base.Artist.value] = "SECRET artist"
    content = encoded(noise(), "JPEG", exif=exif, icc_profile=b"SECRET profile", comment=b"SECRET comment", dpi=(9, 9))
    assert content.count(b"SECRET") == 3
    _, body = answer(content, 0)
    assert b"SECRET" not in body
    assert set(Image.open(BytesIO(body)).info) == {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_only_the_first_frame_counts(kind: str) -> None:
    first = encoded(noise(seed=1), kind, **({"lossless": False} if kind == "WEBP" else {}))
    apart = pixels(frames(kind, 3), 30).astype(int) - pixels(first, 30)
    assert abs(apart).mean() < 20  # colours of a palette differ a little; those of the second frame by 84


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    clear = Image.new("RGBA", (9, 9), (10, 20, 30, 0))
    image = Image.new("P", (9, 9), 0) if mode == "P" else clear.convert(mode)
    content = encoded(image, "PNG", **({"transparency": 0} if mode == "P" else {}))
    assert pixels(content, 4).min() == 255


def test_sixteen_bits_of_grey_are_scaled_and_not_clipped() -> None:
    assert pixels(encoded(Image.fromarray(np.full((9, 9), 0x8000, np.uint16)), "PNG"), 2).tolist()[0][0] == [128] * 3


def test_a_photograph_with_others_behind_it_is_a_jpeg() -> None:
    assert answer(frames("MPO", 2), 0)[0]["format"] == "JPEG"
