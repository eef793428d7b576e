"""Smooth random textures."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], cell: int) -> NDArray[np.float64]:
    """Draw noise in about -1 to 1 whose lumps are about `cell` samples wide.

    Args:
        rng: Source of chance.
        shape: Rows, columns.
        cell: Samples.
    """
    small = rng.uniform(-1, 1, (max(2, shape[0] // cell), max(2, shape[1] // cell))).astype(np.float32)
    picture = Image.fromarray(small).resize((shape[1], shape[0]), Image.Resampling.BICUBIC)
    return np.asarray(picture, dtype=np.float64)
