"""A person's best face as an image inside the page; a stranger's only as coarse blocks."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 112
# Six blocks across a face leave its colours, and no feature to know anyone by.
BLOCKS = 6


def encode_portrait(chip: NDArray[np.uint8], *, clear: bool) -> str:
    """Write a face chip as a data URI.

    Args:
        chip: RGB, uint8, (H, W, 3).
        clear: False for anyone not enrolled: only BLOCKS x BLOCKS mean colours are kept.
    """
    image = Image.fromarray(chip)
    if not clear:
        # Only the blocks are stored; the page scales them, so nothing finer can be dug out of it.
        image = image.resize((BLOCKS, BLOCKS), Image.Resampling.BOX)
        return _data_uri(image, "PNG")
    return _data_uri(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS), "JPEG", quality=88)


def _data_uri(image: Image.Image, kind: str, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
