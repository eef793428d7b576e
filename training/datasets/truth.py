"""What is true of a clip, person by person, and which of its tracks shows whom."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.perception.detection import Boxes, pairwise_iou
from services.perception.track import Track
from training.metrics.events import Happening

NOBODY = ""


@dataclass(frozen=True, slots=True, eq=False)
class PersonTruth:
    """One person of one clip.

    Attributes:
        subject_id: Who.
        pts_seconds: (F,) float64, growing: when they are in the picture.
        boxes_px: (F, 4) float32: where.
        happenings: What they do, in time order, not overlapping.
    """

    subject_id: str
    pts_seconds: NDArray[np.float64]
    boxes_px: Boxes
    happenings: tuple[Happening, ...]

    def action_at(self, seconds: float, *, margin_seconds: float = 0.0) -> str | None:
        """What they do then; None where nothing is named, or where it changes within the margin."""
        for happening in self.happenings:
            if happening.start_seconds + margin_seconds <= seconds < happening.end_seconds - margin_seconds:
                return happening.action
        return None


def match_track(track: Track, people: Sequence[PersonTruth], *, minimum_iou: float) -> list[str]:
    """Whom each picture of a track shows: the best overlap at that time, or NOBODY below `minimum_iou`.

    Returns:
        A subject for each of the track's pictures.
    """
    iou_PN = np.zeros((len(people), len(track)), np.float32)
    for row, person in enumerate(people):
        if len(person.pts_seconds) == 0:
            continue
        nearest_N = _nearest(person.pts_seconds, track.pts_seconds)
        present_N = np.abs(person.pts_seconds[nearest_N] - track.pts_seconds) < 0.06
        for column in np.flatnonzero(present_N):
            box_px = person.boxes_px[nearest_N[column]]
            iou_PN[row, column] = pairwise_iou(box_px[None], track.boxes_px[column][None])[0, 0]
    if not people:
        return [NOBODY] * len(track)
    best_N = iou_PN.argmax(axis=0)
    return [
        people[best].subject_id if iou_PN[best, column] >= minimum_iou else NOBODY for column, best in enumerate(best_N)
    ]


def commonest(subjects: Sequence[str]) -> str:
    """Whom at least half of some pictures show; else NOBODY."""
    names, counts = np.unique(subjects, return_counts=True)
    best = counts.argmax()
    return str(names[best]) if 2 * counts[best] >= len(subjects) else NOBODY


def _nearest(grid_F: NDArray[np.float64], times_N: NDArray[np.float64]) -> NDArray[np.intp]:
    right_N = np.searchsorted(grid_F, times_N).clip(1, len(grid_F) - 1) if len(grid_F) > 1 else None
    if right_N is None:
        return np.zeros(len(times_N), np.intp)
    left_nearer_N = times_N - grid_F[right_N - 1] <= grid_F[right_N] - times_N
    return np.where(left_nearer_N, right_N - 1, right_N)
