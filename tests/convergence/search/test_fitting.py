"""Images of any mode and shape become the square that the settings ask for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convergence.search.fitting import fitted

CROP = {"size": 20, "fit": "crop", "shorter_side": 24, "resample": "bicubic"}
SQUASH = {"size": 20, "fit": "squash", "resample": "bilinear"}


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(["RGB", "L", "RGBA", "P", "CMYK", "1"]))
def test_any_mode_and_shape_fits(width: int, height: int, mode: str) -> None:
    for how in (CROP, SQUASH):
        pixels = fitted(Image.new(mode, (width, height)), how)
        assert (pixels.shape, pixels.dtype) == ((20, 20, 3), np.uint8)


@pytest.mark.parametrize("how", [CROP, SQUASH])
def test_the_middle_stays_in_the_middle(how: dict[str, object]) -> None:
    image = Image.new("RGB", (100, 50))
    image.paste((255, 0, 0), (40, 20, 60, 30))
    pixels = fitted(image, how).astype(int)
    assert pixels[10, 10, 0] > 200
    assert pixels[0].sum() == pixels[:, 0].sum() == 0


def test_a_crop_leaves_out_the_ends_of_the_longer_side_and_a_squash_does_not() -> None:
    image = Image.new("RGB", (100, 20))
    image.paste((255, 255, 255), (0, 0, 10, 20))
    assert fitted(image, CROP).max() == 0
    assert fitted(image, SQUASH)[:, 0].min() > 200
