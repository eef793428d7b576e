"""Detection: one person or face in one picture; and the box arithmetic everything else needs."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]
"""float32, (N, 4): x and y of the upper left corner, then of the lower right one, pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """What a detector found in one picture.

    Attributes:
        kind: What it is.
        box_px: float32, (4,): left, top, right, bottom.
        confidence: The detector's own, 0 to 1; not a probability.
        landmarks_px: float32, (5, 2), on faces: eyes (left in the picture first), nose, mouth corners.
    """

    kind: Literal["person", "face"]
    box_px: NDArray[np.float32]
    confidence: float
    landmarks_px: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        left, top, right, bottom = self.box_px
        if not (right > left and bottom > top):
            raise ValueError(f"box {self.box_px.tolist()}: expected left < right and top < bottom")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence {self.confidence}: expected 0 to 1")
        if (self.kind == "face") != (self.landmarks_px is not None):
            raise ValueError(f"a {self.kind} with landmarks {self.landmarks_px}: faces have five, persons none")
        if self.landmarks_px is not None and self.landmarks_px.shape != (5, 2):
            raise ValueError(f"landmarks of shape {self.landmarks_px.shape}: expected (5, 2)")


def pairwise_iou(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float32]:
    """Intersection over union of every pair.

    Args:
        boxes: (N, 4).
        others: (M, 4).

    Returns:
        float32, (N, M), 0 to 1.
    """
    shared = _pairwise_intersection(boxes, others)
    union = _areas(boxes)[:, None] + _areas(others)[None, :] - shared
    iou: NDArray[np.float32] = (shared / np.maximum(union, 1e-9)).astype(np.float32)
    return iou


def pairwise_coverage(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float32]:
    """Share of each box's own area that lies inside each other box: (N, M), 0 to 1."""
    shared = _pairwise_intersection(boxes, others)
    coverage: NDArray[np.float32] = (shared / np.maximum(_areas(boxes)[:, None], 1e-9)).astype(np.float32)
    return coverage


def suppress_overlaps(boxes: NDArray[np.floating], confidences: NDArray[np.floating], iou: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression: indices kept, surest first; ties keep the earlier."""
    remaining = np.argsort(-confidences, kind="stable")
    kept = []
    while remaining.size:
        best, rest = remaining[0], remaining[1:]
        kept.append(best)
        remaining = rest[pairwise_iou(boxes[best : best + 1], boxes[rest])[0] < iou]
    return np.array(kept, dtype=np.intp)


def _pairwise_intersection(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    upper_left = np.maximum(boxes[:, None, :2], others[None, :, :2])
    lower_right = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    sides: NDArray[np.floating] = np.clip(lower_right - upper_left, 0, None)
    return sides[..., 0] * sides[..., 1]


def _areas(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    areas: NDArray[np.floating] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas
