"""Crossings: people who may be taken for one another, from when they meet until they have come apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.perception.appearance import likeness
from services.perception.detection import Boxes, pairwise_coverage, pairwise_iou
from services.perception.motion import BoxMotion
from services.perception.tracklet import Histogram, Tracklet, area_px2, overlap, stack_boxes

# Overlap at which two people may be taken for one, and below which they are apart again.
_ENTANGLED_COVERAGE = 0.35
_APART_IOU = 0.15
# Two people of one size, one before the other.
_CROSSING_IOU = 0.4
# A box that has grown so much since its person was last alone in it, while another is hidden, shows both.
_SHARED_GROWTH = 1.6
# What the better way to tell two people apart must gain over the other.
_CLEAR_GAIN = 0.25
_CLOTHES_WEIGHT = 4.0


class Crossings:
    """Pairs by number, and by how much motion says they kept their sides, once it is known."""

    def __init__(self) -> None:
        """Nobody has met yet."""
        self._pairs: dict[tuple[int, int], float | None] = {}

    def involve(self, number: int) -> bool:
        """Whether somebody may be taken for another now."""
        return any(number in pair for pair in self._pairs)

    def note(self, tracklets: Sequence[Tracklet], matches: dict[int, int], boxes_px: Boxes) -> None:
        """Note who may be taken for whom: they nearly cover one another, or one is found where both should be."""
        confirmed = [track for track in tracklets if track.confirmed]
        if len(confirmed) < 2:
            return
        boxes = np.stack([boxes_px[matches[t.number]] if t.number in matches else t.motion.box_px for t in confirmed])
        covered, ious = pairwise_coverage(boxes, boxes), pairwise_iou(boxes, boxes)
        for row, hidden in enumerate(confirmed):
            for column, other in enumerate(confirmed):
                pair = (min(hidden.number, other.number), max(hidden.number, other.number))
                if row != column and hidden.number not in matches and covered[row, column] > _ENTANGLED_COVERAGE:
                    self._pairs[pair] = None
                elif row < column and ious[row, column] > _CROSSING_IOU:
                    self._pairs.setdefault(pair, None)

    def find_shared(self, tracklets: Sequence[Tracklet], matches: dict[int, int], boxes_px: Boxes) -> set[int]:
        """Tracks whose detection holds somebody else, too: it says where they are, and not what either of them does."""
        by_number = {track.number: track for track in tracklets}
        shared = set()
        for pair in self._pairs:
            for seen, hidden in (pair, pair[::-1]):
                if (
                    seen in matches
                    and hidden in by_number
                    and hidden not in matches
                    and area_px2(boxes_px[matches[seen]]) > _SHARED_GROWTH * by_number[seen].alone_px2
                ):
                    shared.add(seen)
        return shared

    def settle(
        self,
        tracklets: Sequence[Tracklet],
        matches: dict[int, int],
        boxes_px: Boxes,
        appearances: Sequence[Histogram | None],
    ) -> set[int]:
        """Decide who is who among people who come apart; amends `matches`, gives the tracks that must end."""
        by_number = {track.number: track for track in tracklets}
        ended: set[int] = set()
        for (first, second), kept_gain in sorted(self._pairs.items(), key=lambda item: item[0]):
            if first not in by_number or second not in by_number:
                del self._pairs[first, second]
                continue
            if first not in matches or second not in matches:
                continue
            one, other = by_number[first], by_number[second]
            pair = [matches[first], matches[second]]
            gain = kept_gain
            if gain is None:
                # Asked when both are first seen again: later, motion repeats whatever was assumed here.
                gain = _gain(overlap(stack_boxes([one, other]), boxes_px[pair]))
                self._pairs[first, second] = gain
            if pairwise_iou(boxes_px[pair[:1]], boxes_px[pair[1:]])[0, 0] > _APART_IOU:
                continue
            del self._pairs[first, second]
            alike = np.array([[likeness(t.appearance, appearances[i]) for i in pair] for t in (one, other)])
            gain += _CLOTHES_WEIGHT * _gain(alike)
            if abs(gain) < _CLEAR_GAIN:
                ended |= {first, second}
            elif gain < 0:
                matches[first], matches[second] = pair[1], pair[0]
                one.motion, other.motion = BoxMotion(boxes_px[pair[1]]), BoxMotion(boxes_px[pair[0]])
        return ended


def _gain(fit: NDArray[np.floating]) -> float:
    """By how much two fit two others better in this order, (2, 2), than the other way round."""
    return float(fit[0, 0] + fit[1, 1] - fit[0, 1] - fit[1, 0])
