"""One person being followed: where they are, where they were seen last, what they wear."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.perception.detection import Boxes, pairwise_iou
from services.perception.motion import BoxMotion

Histogram = NDArray[np.float32]

# Boxes are widened by this share of their sides before they are compared: at ten pictures a second a runner's
# boxes hardly overlap.
_WIDENING = 0.25
_APPEARANCE_MEMORY = 0.9


class Tracklet:
    """What the tracker knows of one person.

    Attributes:
        number: Never used again.
        motion: Where they should be.
        last_box_px: float32, (4,), where they were seen last.
        seen_seconds: When.
        detected_seconds: When the detector found them last, and not the foreground.
        hits: How often they were seen.
        confirmed: Whether that is often enough.
        appearance: Their clothes; None while unknown.
        alone_px2: Area of the latest box that was certainly theirs alone.
    """

    def __init__(self, number: int, box_px: NDArray[np.float32], seconds: float) -> None:
        """Seen once."""
        self.number = number
        self.motion = BoxMotion(box_px)
        self.last_box_px = box_px
        self.seen_seconds = seconds
        self.detected_seconds = seconds
        self.hits = 1
        self.confirmed = False
        self.appearance: Histogram | None = None
        self.alone_px2 = area_px2(box_px)

    def see_clothes(self, seen: Histogram | None) -> None:
        """Take in what they wear in a box that is theirs alone."""
        if self.appearance is None or seen is None:
            self.appearance = seen if self.appearance is None else self.appearance
            return
        blended = self.appearance * np.float32(_APPEARANCE_MEMORY) + seen * np.float32(1 - _APPEARANCE_MEMORY)
        self.appearance = blended.astype(np.float32)


def stack_boxes(tracklets: Sequence[Tracklet]) -> Boxes:
    """Where each should be, (N, 4) px."""
    return np.stack([each.motion.box_px for each in tracklets]) if tracklets else np.zeros((0, 4), np.float32)


def area_px2(box_px: NDArray[np.float32]) -> float:
    """Of a box, (4,)."""
    return float((box_px[2] - box_px[0]) * (box_px[3] - box_px[1]))


def overlap(boxes: Boxes, others: Boxes) -> NDArray[np.float32]:
    """(N, M) intersection over union of widened boxes."""
    return pairwise_iou(_widened(boxes), _widened(others))


def _widened(boxes: Boxes) -> Boxes:
    margins = (boxes[:, 2:] - boxes[:, :2]) * np.float32(_WIDENING)
    return np.concatenate([boxes[:, :2] - margins, boxes[:, 2:] + margins], axis=1)
