"""An image becomes the square of pixels that an encoder's settings ask for; the same at training and at serving."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fitted(image: Any, settings: Mapping[str, Any]) -> NDArray[np.uint8]:
    """A decoded `PIL.Image` as uint8 RGB (s, s, 3).

    Args:
        image: of any mode and size.
        settings: of `encoders.Graph`, for pixels.
    """
    from PIL import Image

    size, resample = settings["size"], Image.Resampling[settings["resample"].upper()]
    image = image.convert("RGB")
    if settings["fit"] == "squash":
        return np.array(image.resize((size, size), resample))
    scale = settings["shorter_side"] / min(image.size)
    image = image.resize((max(size, round(image.width * scale)), max(size, round(image.height * scale))), resample)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)))
