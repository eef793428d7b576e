"""Crop: squares cut out of a picture, black where they reach outside it."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from services.perception.frame import Picture

Square = tuple[int, int, int]
"""Left, top, side; whole pixels; may reach outside the picture."""


def square_around(box_px: NDArray[np.floating], context: float) -> Square:
    """The square with the box in its middle and `context` times its longer side."""
    left, top, right, bottom = (float(edge) for edge in box_px)
    side = max(2, math.ceil(context * max(right - left, bottom - top)))
    return round((left + right - side) / 2), round((top + bottom - side) / 2), side


def cut_square(picture: Picture, square: Square, size_px: int) -> Picture:
    """Cut a square and scale it, with smoothing when it shrinks.

    Args:
        picture: RGB, uint8, (H, W, 3).
        square: Where to cut; outside `picture` is black.
        size_px: Side of what comes back.

    Returns:
        (size_px, size_px, 3), uint8.
    """
    left, top, side = square
    height_px, width_px = picture.shape[:2]
    inner_left, inner_top = max(left, 0), max(top, 0)
    inner_right, inner_bottom = min(left + side, width_px), min(top + side, height_px)
    canvas = np.zeros((size_px, size_px, 3), np.uint8)
    if inner_right <= inner_left or inner_bottom <= inner_top:
        return canvas
    scale = size_px / side
    to_left, to_top = round((inner_left - left) * scale), round((inner_top - top) * scale)
    to_right = max(to_left + 1, round((inner_right - left) * scale))
    to_bottom = max(to_top + 1, round((inner_bottom - top) * scale))
    inner = picture[inner_top:inner_bottom, inner_left:inner_right]
    scaled = resize(inner, to_right - to_left, to_bottom - to_top)
    canvas[to_top:to_bottom, to_left:to_right] = scaled[: size_px - to_top, : size_px - to_left]
    return canvas


def resize(picture: Picture, width_px: int, height_px: int) -> Picture:
    """Scale a picture; bilinear, over every source pixel when it shrinks.

    Large pictures are first averaged by whole numbers of pixels, which is twice as fast.
    """
    if picture.shape[:2] == (height_px, width_px):
        return picture
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize((width_px, height_px), Image.Resampling.BILINEAR, reducing_gap=1.1))
