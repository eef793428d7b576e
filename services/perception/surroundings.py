"""Surroundings: a person in a square that stands still, put together again from a strip that follows them.

What follows a person takes out how they move and puts the jitter of their box in its place, and what they touch
lies at the rim. A network of motion is therefore shown a still square, two body lengths wide, around each track.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import WindowSpec
from services.perception.crop import Square, resize, square_around
from services.perception.detection import Boxes
from services.perception.evidence import Strip
from services.perception.frame import Picture
from services.perception.windows import ClipWindow, measure_motion, place_windows

# Body lengths: wide enough for whom a person touches.
_CONTEXT = 2.0


def square_of_surroundings(boxes_px: Boxes) -> Square:
    """The square that a person with these boxes is shown in."""
    return square_around(np.median(boxes_px, axis=0), _CONTEXT)


def cut_surroundings(strip: Strip, spec: WindowSpec) -> Iterator[ClipWindow]:
    """Cut a track into windows by the rule of services.perception.windows, each seen in a square that stands still.

    A body crop covers only part of it. Where the crop has been before, what it showed last stays; where it will be
    later, what it shows first is there already: nothing seems to move merely because it comes into view.

    Args:
        strip: The track's body crops.
        spec: From the network's card.

    Yields:
        Windows of exactly `spec.frames` pictures.
    """
    for place in place_windows(strip.pts_seconds, spec):
        shown = np.unique(place.picture_indexes)
        left, top, side = square_of_surroundings(strip.boxes_px[shown])
        scale = spec.size_px / side
        crops = (strip.crops_px[shown] - np.array([left, top, left, top])) * scale
        painted = _paint([strip.pictures[int(index)] for index in shown], crops, spec.size_px)
        motion = measure_motion(strip.pts_seconds, strip.boxes_px, place.times_seconds)
        yield ClipWindow(
            track_id=strip.track_id,
            start_seconds=place.start_seconds,
            end_seconds=place.end_seconds,
            picture_indexes=place.picture_indexes,
            rgb=painted[np.searchsorted(shown, place.picture_indexes)],
            motion=np.pad(motion, ((0, spec.frames - len(motion)), (0, 0)), mode="edge"),
        )


def _paint(pictures: Sequence[Picture], crops_px: NDArray[np.float32], size_px: int) -> NDArray[np.uint8]:
    """(T, S, S, 3): the canvas after each picture was laid where it was cut."""
    canvas = np.zeros((size_px, size_px, 3), np.uint8)
    laid = [_lie(picture, crop_px, size_px) for picture, crop_px in zip(pictures, crops_px, strict=True)]
    for rows, columns, part in reversed(laid):
        canvas[rows, columns] = part
    painted = np.empty((len(laid), size_px, size_px, 3), np.uint8)
    for number, (rows, columns, part) in enumerate(laid):
        canvas[rows, columns] = part
        painted[number] = canvas
    return painted


def _lie(picture: Picture, crop_px: NDArray[np.float32], size_px: int) -> tuple[slice, slice, Picture]:
    """Rows, columns and pixels of a crop on the canvas; empty where it lies outside."""
    left, top, right, bottom = (round(float(edge)) for edge in crop_px)
    scaled = resize(picture, max(right - left, 1), max(bottom - top, 1))
    inner_top, inner_left = max(-top, 0), max(-left, 0)
    part = scaled[inner_top : max(size_px - top, 0), inner_left : max(size_px - left, 0)]
    first_row, first_column = max(top, 0), max(left, 0)
    return slice(first_row, first_row + part.shape[0]), slice(first_column, first_column + part.shape[1]), part
