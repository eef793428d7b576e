"""Search: where in a picture to look for persons and faces, so that little is missed in little time.

A detector's input is small, so each look at a region costs the same and sees bodies best when they fill a good
part of it, undistorted. Around everyone followed there is a look at every picture; the whole picture is searched
for newcomers a few times a second, in squares as high as it is, and its small tiles in turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from services.perception.crop import Square
from services.perception.detect import FaceDetector, PersonDetector, Region
from services.perception.detection import Boxes, Detection, pairwise_coverage, pairwise_iou, suppress_overlaps
from services.perception.frame import Frame

DISCOVERY_SECONDS = 0.5
TILES_A_DISCOVERY = 1
FACES_SECONDS = 0.3
ALL_FACES_SECONDS = 1.0
# Below the card's threshold a detection only carries on a track that is there; below this it is noise.
CARRY_ON_SHARE = 0.5
# The square around one person has this many times their height; people down to such a share of it are found as well.
_ZOOM = 1.9
_LEAST_SHARE = 0.3
# Whoever the first look misses, as it does who falls or lies, is looked for again: in these many times the longer side
# of where they should be, and in a region of their own proportions, squeezed until they fill it as who stands would.
_CLOSER_ZOOMS = (1.6, 1.2)
_SQUEEZED_ZOOM = 1.5
_FOUND_IOU = 0.3
# Free room at the sides, so that a square's edge cuts nobody off.
_MARGIN = 1.1
# Less of a body than this inside the picture is not looked for.
_LEAST_INSIDE = 0.3
_TILE_SHARE = 0.6
_TILE_OVERLAP = 0.25
_LEAST_TILE_PX = 160
_PERSON_IOU = 0.5
# A sure detection with so much of a smaller one inside has it for a part.
_PART_COVERAGE = 0.85
_ALL_FACES_SIDE_PX = 640
_HEAD_SIDE_PX = 192
_FACE_IOU = 0.4
_TIME_ROUNDING_SECONDS = 0.001


class PersonSearch:
    """Persons in one clip's pictures, each once."""

    def __init__(self, detector: PersonDetector, width_px: int, height_px: int) -> None:
        """Plan the looks for pictures of one size."""
        self._detector = detector
        self._width_px, self._height_px = width_px, height_px
        short_px = min(width_px, height_px)
        self._overview = list(dict.fromkeys([(0, 0, width_px, height_px), *_tiles(width_px, height_px, short_px)]))
        tile_px = round(short_px * _TILE_SHARE)
        small = _tiles(width_px, height_px, tile_px) if tile_px >= _LEAST_TILE_PX else []
        self._tiles_in_turn: Iterator[Region] | None = cycle(small) if small else None
        self._next_discovery_seconds = -np.inf

    def find(
        self, frame: Frame, followed: Mapping[int, NDArray[np.float32]], newcomers: Sequence[NDArray[np.float32]] = ()
    ) -> tuple[Boxes, NDArray[np.float32]]:
        """Look around everyone followed, where somebody new may be and, when it is time, everywhere.

        Args:
            frame: The picture.
            followed: Where each person followed should be, by number.
            newcomers: What else stands out from the scene.

        Returns:
            Boxes (N, 4) and confidences (N,), surest first.
        """
        regions = self._around([*followed.values(), *newcomers])
        if frame.pts_seconds >= self._next_discovery_seconds - _TIME_ROUNDING_SECONDS:
            self._next_discovery_seconds = frame.pts_seconds + DISCOVERY_SECONDS
            regions += self._overview
            if self._tiles_in_turn is not None:
                regions += [next(self._tiles_in_turn) for _ in range(TILES_A_DISCOVERY)]
        at_least = self._detector.minimum_confidence * CARRY_ON_SHARE
        boxes, confidences = self._detector.detect(frame.rgb, list(dict.fromkeys(regions)), at_least)
        for missed in self._visible(list(followed.values())):
            for region in self._closer(missed):
                if pairwise_iou(missed[None], boxes).max(initial=0.0) >= _FOUND_IOU:
                    break
                closer_boxes, closer_confidences = self._detector.detect(frame.rgb, [region], at_least)
                boxes, confidences = np.concatenate([boxes, closer_boxes]), np.append(confidences, closer_confidences)
        kept = suppress_overlaps(boxes, confidences, _PERSON_IOU)
        boxes, confidences = boxes[kept], confidences[kept]
        whole = ~_is_part(boxes)
        return boxes[whole], confidences[whole]

    def _around(self, boxes: list[NDArray[np.float32]]) -> list[Region]:
        """As few regions as show everyone followed at a good size."""
        groups: list[Boxes] = []
        for box in sorted(self._visible(boxes), key=lambda box: box.tolist()):
            visible = box[None]
            for index, group in enumerate(groups):
                together = np.concatenate([group, visible])
                if self._square_around(together) is not None:
                    groups[index] = together
                    break
            else:
                groups.append(visible)
        everything = (0, 0, self._width_px, self._height_px)
        return [self._square_around(group) or everything for group in groups]

    def _visible(self, boxes: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """What of each box lies in the picture, where enough of it does to be looked for."""
        picture = np.array([[0, 0, self._width_px, self._height_px]], np.float32)
        return [
            np.clip(box, 0, picture[0, [2, 3, 2, 3]])
            for box in boxes
            if pairwise_coverage(box[None], picture)[0, 0] >= _LEAST_INSIDE
        ]

    def _closer(self, box: NDArray[np.float32]) -> list[Region]:
        """Where somebody whom the first look missed is looked for again, one after another."""
        width, height = float(box[2] - box[0]), float(box[3] - box[1])
        short_px = min(self._width_px, self._height_px)
        sides = [(_SQUEEZED_ZOOM * width, _SQUEEZED_ZOOM * height)]
        sides += [(min(zoom * max(width, height), short_px),) * 2 for zoom in _CLOSER_ZOOMS]
        regions = []
        for across, down in sides:
            region_width, region_height = min(round(across), self._width_px), min(round(down), self._height_px)
            x = int(np.clip((box[0] + box[2] - region_width) / 2, 0, self._width_px - region_width))
            y = int(np.clip((box[1] + box[3] - region_height) / 2, 0, self._height_px - region_height))
            regions.append((x, y, x + region_width, y + region_height))
        return regions

    def _square_around(self, boxes: Boxes) -> Region | None:
        """The square that shows all boxes whole and none too small; None where there is none."""
        sides = np.max(boxes[:, 2:] - boxes[:, :2], axis=1)
        left, top = boxes[:, :2].min(axis=0)
        right, bottom = boxes[:, 2:].max(axis=0)
        short_px = min(self._width_px, self._height_px)
        needed_px = max(_MARGIN * float(right - left), float(bottom - top))
        largest_px = min(short_px, max(float(sides.min()) / _LEAST_SHARE, _LEAST_TILE_PX))
        if needed_px > largest_px:
            return None
        side_px = round(min(max(_ZOOM * float(sides.max()), needed_px, _LEAST_TILE_PX), largest_px))
        x = int(np.clip((left + right - side_px) / 2, 0, self._width_px - side_px))
        y = int(np.clip((top + bottom - side_px) / 2, 0, self._height_px - side_px))
        return (x, y, x + side_px, y + side_px)


class FaceSearch:
    """Faces in one clip's pictures: at the heads of those followed, and now and then everywhere."""

    def __init__(self, detector: FaceDetector) -> None:
        """Nobody has been looked at yet."""
        self._detector = detector
        self._next_look_seconds: dict[int, float] = {}
        self._next_everywhere_seconds = -np.inf

    def find(self, frame: Frame, followed: Mapping[int, NDArray[np.float32]], urgent: set[int]) -> list[Detection]:
        """Look at the heads that are due.

        Args:
            frame: The picture.
            followed: Where each person followed should be, by number.
            urgent: Those to look at in every picture: known by their face alone.

        Returns:
            Faces, each once, surest first.
        """
        now = frame.pts_seconds + _TIME_ROUNDING_SECONDS
        due = [number for number in followed if number in urgent or now >= self._next_look_seconds.get(number, -np.inf)]
        self._next_look_seconds = {
            number: frame.pts_seconds + FACES_SECONDS if number in due else self._next_look_seconds[number]
            for number in followed
        }
        squares = [_head_square(followed[number]) for number in due]
        found = [
            face for faces in self._detector.detect_in_squares(frame.rgb, squares, _HEAD_SIDE_PX) for face in faces
        ]
        if now >= self._next_everywhere_seconds:
            self._next_everywhere_seconds = frame.pts_seconds + ALL_FACES_SECONDS
            found += self._detector.detect(frame.rgb, _ALL_FACES_SIDE_PX)
        if not found:
            return []
        boxes = np.stack([face.box_px for face in found])
        confidences = np.array([face.confidence for face in found], np.float32)
        return [found[index] for index in suppress_overlaps(boxes, confidences, _FACE_IOU)]


def _head_square(box: NDArray[np.float32]) -> Square:
    """Where the head of the person in a box is looked for; generous, for those who sit, stoop or lie."""
    left, top, right, bottom = (float(edge) for edge in box)
    side = max(0.5 * (bottom - top), 1.1 * (right - left))
    return round((left + right - side) / 2), round(top - 0.15 * side), max(2, round(side))


def _tiles(width_px: int, height_px: int, side_px: int) -> list[Region]:
    """Squares of one side that cover a picture, overlapping."""
    lefts, tops = _spread(width_px, side_px), _spread(height_px, side_px)
    return [(left, top, min(left + side_px, width_px), min(top + side_px, height_px)) for top in tops for left in lefts]


def _spread(length_px: int, side_px: int) -> list[int]:
    if length_px <= side_px * 1.05:
        return [0]
    # A tile fewer where the overlap comes out only a little smaller: each one costs a look.
    count = max(2, int(np.ceil((length_px / side_px - _TILE_OVERLAP) / (1 - _TILE_OVERLAP) - 0.1)))
    return [round(index * (length_px - side_px) / (count - 1)) for index in range(count)]


def _is_part(boxes: Boxes) -> NDArray[np.bool_]:
    """Boxes that lie inside a larger, surer one (they are sorted) and share its top or bottom: half of a body."""
    covered = np.triu(pairwise_coverage(boxes, boxes).T, 1).T >= _PART_COVERAGE
    heights = boxes[:, 3] - boxes[:, 1]
    shares_top = np.abs(boxes[:, None, 1] - boxes[None, :, 1]) < 0.15 * heights[None, :]
    shares_bottom = np.abs(boxes[:, None, 3] - boxes[None, :, 3]) < 0.15 * heights[None, :]
    part: NDArray[np.bool_] = (covered & (shares_top | shares_bottom)).any(axis=1)
    return part
