"""Views: which squares of a clip a network is shown, and how their strips become windows."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import Task, WindowSpec
from services.perception.crop import Square
from services.perception.detection import Boxes
from services.perception.surroundings import square_of_surroundings

# What one person takes part in is seen around them, two seconds at a time; what happens between two people that fill
# the picture, in all of it and from beginning to end.
WINDOWS: dict[Task, WindowSpec] = {
    "behaviour": WindowSpec(frames=21, rate_hz=10, stride_seconds=1.0, size_px=128, motion=False, view="surroundings"),
    "interaction": WindowSpec(frames=61, rate_hz=15, stride_seconds=2.0, size_px=128, motion=False, view="scene"),
}
# A picture longer than a square by less than this share of it is not worth another one.
_OVERHANG = 0.1


def choose_squares(width_px: int, height_px: int, people: Sequence[Boxes] = ()) -> list[Square]:
    """Squares that cover the picture, and one around each person.

    Squares of the picture are as large as its shorter side and overlap where it is no multiple of it, so people
    are shown as large as can be without cutting heads or feet.

    Args:
        width_px: Of the picture.
        height_px: Of the picture.
        people: The boxes of everyone followed in it.
    """
    side = min(width_px, height_px)
    tiles = math.ceil(max(width_px, height_px) / side - _OVERHANG)
    last = max(width_px, height_px) - side
    offsets = [round(last * tile / max(tiles - 1, 1)) for tile in range(tiles)] if tiles > 1 else [last // 2]
    squares = [(offset, 0, side) if width_px >= height_px else (0, offset, side) for offset in offsets]
    return squares + [square_of_surroundings(boxes_px) for boxes_px in people]


def cut_strip(strip: NDArray[np.uint8], spec: WindowSpec) -> NDArray[np.uint8]:
    """Windows (W, T, S, S, 3) of a strip, one every stride; the last ends with it; a short one holds its last picture.

    >>> cut_strip(np.zeros((3, 8, 8, 3), np.uint8), WindowSpec(
    ...     frames=4, rate_hz=10, stride_seconds=0.2, size_px=8, motion=False, view="scene")).shape
    (1, 4, 8, 8, 3)
    """
    stride = max(1, round(spec.stride_seconds * spec.rate_hz))
    last = max(len(strip) - spec.frames, 0)
    starts = [*range(0, last, stride), last]
    shown_WT = np.minimum(np.array(starts)[:, None] + np.arange(spec.frames), len(strip) - 1)
    windows: NDArray[np.uint8] = strip[shown_WT]
    return windows
