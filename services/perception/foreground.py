"""Foreground: what differs from the empty scene, for people whom the detector no longer finds.

A pedestrian detector is made for people who stand; whoever lies or crouches is lost to it, just when it matters. A
surveillance camera stands still, so they can still be seen: something is there that is not the background.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from services.perception.crop import resize
from services.perception.detection import Boxes
from services.perception.frame import Frame

_WIDTH_PX = 192
# What nobody stands before is learnt soon, also the ghost of someone who has stood up and left; what somebody
# lies before must outlast them.
_LEARN_SECONDS = 2.0
_LEARN_BEHIND_PEOPLE_SECONDS = 30.0
# Above sensor noise and most shadows, of 255.
_LEAST_DIFFERENCE = 24.0
# Where more has changed the camera has moved, or the light.
_MOST_CHANGED = 0.6
# How far from where somebody should be they are looked for, in longer sides of their box.
_REACH = 0.35
# A body covers at least this share of the box it was last seen in.
_LEAST_COVER = 0.2
_MOST_GROWTH = 1.6
# Nobody whose silhouette fills fewer cells of the small picture is looked for, and no more people than this at once.
_LEAST_CELLS = 36
_MOST_NEWCOMERS = 2
# Limbs reach out of a box by this share of its sides.
_LIMBS = 0.25


class Foreground:
    """The empty scene of one clip, learnt as it runs."""

    def __init__(self, width_px: int, height_px: int) -> None:
        """Nothing is known yet of pictures of this size."""
        self._scale = _WIDTH_PX / width_px
        self._size_px = (_WIDTH_PX, max(2, round(height_px * self._scale)))
        self._background: NDArray[np.float32] | None = None
        self._differs = np.zeros(self._size_px[::-1], np.bool_)
        self._picture = np.zeros((*self._size_px[::-1], 3), np.float32)
        self._seconds = 0.0

    def forget(self) -> None:
        """The camera shows something else now."""
        self._background = None

    def look(self, frame: Frame) -> None:
        """Compare one picture, later than all before it, with the empty scene."""
        stride = max(1, round(0.5 / self._scale))
        picture = resize(frame.rgb[::stride, ::stride], *self._size_px).astype(np.float32)
        if self._background is None:
            self._background, self._seconds = picture, frame.pts_seconds
        self._differs = np.abs(picture - self._background).max(axis=2) > _LEAST_DIFFERENCE
        if self._differs.mean() > _MOST_CHANGED:
            self._background = picture
            self._differs[:] = False
        self._picture = picture

    def learn(self, pts_seconds: float, people: Boxes) -> None:
        """Take the picture last looked at for the scene, where nobody stands before it.

        Args:
            pts_seconds: Of that picture.
            people: (N, 4) px, where people are or should be.
        """
        assert self._background is not None, "look comes first"
        behind = np.zeros_like(self._differs)
        for rows, columns in map(self._cells, people):
            behind[rows, columns] = True
        passed = pts_seconds - self._seconds
        self._seconds = pts_seconds
        learnt = 1 - np.exp(-passed / np.where(behind, _LEARN_BEHIND_PEOPLE_SECONDS, _LEARN_SECONDS))
        self._background += learnt[..., None].astype(np.float32) * (self._picture - self._background)

    def find_newcomers(self, people: Boxes) -> list[NDArray[np.float32]]:
        """What stands out from the scene where nobody is known to be.

        Args:
            people: (N, 4) px, where people are or should be.

        Returns:
            float32 (4,) around each piece large enough for somebody, the largest `_MOST_NEWCOMERS`.
        """
        there = self._differs.copy()
        margins = (people[:, 2:] - people[:, :2]) * np.float32(_LIMBS)
        for box in np.concatenate([people[:, :2] - margins, people[:, 2:] + margins], axis=1):
            there[self._cells(box)] = False
        pieces, count = ndimage.label(ndimage.binary_closing(ndimage.binary_opening(there)))
        if count == 0:
            return []
        sizes = ndimage.sum_labels(there, pieces, np.arange(1, count + 1))
        places = ndimage.find_objects(pieces)
        largest = [index for index in np.argsort(-sizes)[:_MOST_NEWCOMERS] if sizes[index] >= _LEAST_CELLS]
        return [self._box_px(*places[index]) for index in largest]

    def find_body(self, box_px: NDArray[np.float32], others: Boxes) -> NDArray[np.float32] | None:
        """Look for somebody in the latest picture, where they should be.

        Args:
            box_px: (4,), where that is.
            others: (N, 4), what belongs to other people.

        Returns:
            float32 (4,), around what is there; None where nothing of a body's size is.
        """
        left, top, right, bottom = (float(edge) for edge in box_px)
        reach = _REACH * max(right - left, bottom - top)
        rows, columns = self._cells(np.array([left - reach, top - reach, right + reach, bottom + reach], np.float32))
        there = self._differs[rows, columns].copy()
        for other in others:
            other_rows, other_columns = self._cells(other)
            there[
                max(0, other_rows.start - rows.start) : max(0, other_rows.stop - rows.start),
                max(0, other_columns.start - columns.start) : max(0, other_columns.stop - columns.start),
            ] = False
        pieces, count = ndimage.label(ndimage.binary_closing(ndimage.binary_opening(there)))
        if count == 0:
            return None
        sizes = ndimage.sum_labels(there, pieces, np.arange(1, count + 1))
        body = ndimage.find_objects(pieces)[int(sizes.argmax())]
        expected = (right - left) * (bottom - top) * self._scale**2
        if sizes.max() < _LEAST_COVER * expected:
            return None
        found = self._box_px(
            slice(rows.start + body[0].start, rows.start + body[0].stop),
            slice(columns.start + body[1].start, columns.start + body[1].stop),
        )
        grown = max(found[2] - found[0], found[3] - found[1]) / max(right - left, bottom - top)
        return None if grown > _MOST_GROWTH else found

    def _box_px(self, rows: slice, columns: slice) -> NDArray[np.float32]:
        edges = np.array([columns.start, rows.start, columns.stop, rows.stop], np.float32)
        return edges / np.float32(self._scale)

    def _cells(self, box_px: NDArray[np.float32]) -> tuple[slice, slice]:
        """Rows and columns of the small picture that a box covers."""
        left, top, right, bottom = (float(edge) * self._scale for edge in box_px)
        width, height = self._size_px
        return (
            slice(int(np.clip(np.floor(top), 0, height)), int(np.clip(np.ceil(bottom), 0, height))),
            slice(int(np.clip(np.floor(left), 0, width)), int(np.clip(np.ceil(right), 0, width))),
        )
