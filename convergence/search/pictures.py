"""From the bytes of an image to the pixels that an encoder takes: one way for what is indexed and what is asked.

Decoding is the decoder's, in its child process; here pixels are only cut.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convergence.errors import SearchError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convergence.objects.images import ImageDecoder


def fitted(content: bytes, decoder: "ImageDecoder", settings: Mapping[str, Any]) -> "NDArray[np.uint8]":
    """RGB pixels (s, s, 3) as the settings of an encoder's document graph want them.

    Args:
        content: an image file, not trusted.
        decoder: in whose child it is decoded.
        settings: `size` s and, where `fit` is "crop", `shorter_side` (default: s), of which the middle is cut out.

    Raises:
        ImageRefused: the image cannot be decoded.
        SearchError: settings that the decoder has no way for.
    """
    size, fit, resample = settings["size"], settings.get("fit", "crop"), settings.get("resample", "bicubic")
    if (fit, resample) != ("crop", "bicubic"):
        raise SearchError(f"images are fitted by bicubic crop, not by {resample} {fit}: export the encoder for that")
    side = settings.get("shorter_side", size)
    edge = (side - size) // 2
    return decoder.pixels(content, size=side)[edge : edge + size, edge : edge + size]
