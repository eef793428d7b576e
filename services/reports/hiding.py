"""Hiding: people who are not named are reduced to coarse blocks, before anything else is drawn."""

import numpy as np
from PIL import Image

from services.perception.frame import Picture

Rectangle = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels."""

# Four blocks across a head leave nothing to know a face by, and sixteen down a body still show what it does.
BLOCKS_ACROSS_HEAD = 4
SMALLEST_BLOCK_PX = 6
BLOCKS_DOWN_PICTURE = 24
# Detectors cut hair and feet off.
MARGIN = 0.12


def hide_person(picture: Picture, box: Rectangle) -> None:
    """Put blocks of mean colour over a person, in place.

    Args:
        picture: RGB, uint8, (H, W, 3), writable.
        box: The person, in its pixels; may reach beyond it.
    """
    height_px, width_px = picture.shape[:2]
    margin_px = MARGIN * min(box[2] - box[0], box[3] - box[1])
    left, top = (max(0, int(side - margin_px)) for side in box[:2])
    right, bottom = min(width_px, int(box[2] + margin_px) + 1), min(height_px, int(box[3] + margin_px) + 1)
    if left >= right or top >= bottom:
        return
    _coarsen(picture[top:bottom, left:right], max(SMALLEST_BLOCK_PX, _head_side_px(box) / BLOCKS_ACROSS_HEAD))


def hide_all(picture: Picture) -> None:
    """Put blocks of mean colour over a whole picture, in place: some BLOCKS_DOWN_PICTURE from top to bottom.

    A head as high as a sixth of the picture is still only as many blocks as a hidden person's.
    """
    _coarsen(picture, max(SMALLEST_BLOCK_PX, picture.shape[0] / BLOCKS_DOWN_PICTURE))


def _coarsen(picture: Picture, block_px: float) -> None:
    region = Image.fromarray(picture)
    blocks = (max(1, round(region.width / block_px)), max(1, round(region.height / block_px)))
    # Means, not samples: what is finer than a block is gone, and not hidden in it.
    coarse = region.resize(blocks, Image.Resampling.BOX)
    picture[:] = np.asarray(coarse.resize(region.size, Image.Resampling.NEAREST))


def head_of(box: Rectangle) -> Rectangle:
    """Where in a person's box the head may be: the upper part; all of it for somebody lying down."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    if width > height:
        return box
    return left, top, right, top + min(height, max(0.22 * height, 0.5 * width))


def _head_side_px(box: Rectangle) -> float:
    """How large a head is: an eighth of somebody's length, but boxes of people cut off are shorter than they are."""
    short, long = sorted((box[2] - box[0], box[3] - box[1]))
    return max(long / 8, 0.4 * short)
