"""Where a person is at any instant, from the frames in which they were detected."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.perception.track import Track

# A person unseen for longer may have walked anywhere: no box is better than an invented one.
LONGEST_GAP_SECONDS = 1.0
HIDDEN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class BoxPath:
    """The boxes of one track.

    Attributes:
        seconds: (N,) float64, rising: when the person was detected.
        boxes_px: (N, 4) float64, xyxy in pixels of the clip, origin at the top left.
        confidences: (N,) float64 in [0, 1].
    """

    seconds: NDArray[np.float64]
    boxes_px: NDArray[np.float64]
    confidences: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.seconds)
        if self.boxes_px.shape != (count, 4) or self.confidences.shape != (count,):
            raise ValueError(
                f"{count} times, boxes {self.boxes_px.shape}, confidences {self.confidences.shape}: "
                "expected (N,), (N, 4), (N,)"
            )

    def interpolate(self, seconds: NDArray[np.float64]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Boxes at any times, linear between the two detections around each.

        Args:
            seconds: (M,) float64, any order.

        Returns:
            (M,) whether the person is in view then (between two detections at most
            LONGEST_GAP_SECONDS apart, or at one), and (M, 5) xyxy px and confidence.
        """
        if len(self.seconds) == 0:
            return np.zeros(len(seconds), dtype=bool), np.zeros((len(seconds), 5))
        after = np.clip(np.searchsorted(self.seconds, seconds), 0, len(self.seconds) - 1)
        before = np.maximum(after - 1, 0)
        gap = self.seconds[after] - self.seconds[before]
        share = np.divide(seconds - self.seconds[before], gap, out=np.ones(len(seconds)), where=gap > 0)
        on_a_detection = self.seconds[after] == seconds
        inside = (self.seconds[0] <= seconds) & (seconds <= self.seconds[-1])
        in_view = inside & (on_a_detection | (gap <= LONGEST_GAP_SECONDS))
        from_values, to_values = self._values(before), self._values(after)
        return in_view, from_values + share[:, None] * (to_values - from_values)

    def cover(self, seconds: float) -> NDArray[np.float64] | None:
        """Where the person may be at an instant, to hide them: rather too much than too little.

        Unlike `interpolate` it bridges gaps of any length, and holds the first and the last box for
        HIDDEN_SECONDS more, as people are there before they are first detected.

        Returns:
            (4,) xyxy px, or None where they are not in view.
        """
        if len(self.seconds) == 0:
            return None
        if not self.seconds[0] - HIDDEN_SECONDS <= seconds <= self.seconds[-1] + HIDDEN_SECONDS:
            return None
        after = int(np.clip(np.searchsorted(self.seconds, seconds), 0, len(self.seconds) - 1))
        before = max(after - 1, 0)
        gap = self.seconds[after] - self.seconds[before]
        if gap > LONGEST_GAP_SECONDS:
            # Nobody knows the way they went: both ends of it, and all between.
            both = self.boxes_px[[before, after]]
            return np.concatenate([both[:, :2].min(axis=0), both[:, 2:].max(axis=0)])
        share = np.clip((seconds - self.seconds[before]) / gap, 0, 1) if gap > 0 else 1.0
        here: NDArray[np.float64] = self.boxes_px[before] + share * (self.boxes_px[after] - self.boxes_px[before])
        return here

    def _values(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.concatenate([self.boxes_px[rows], self.confidences[rows, None]], axis=1)


def path_of(track: Track) -> BoxPath:
    """A track of an evidence bundle as a path."""
    confidences = np.clip(track.confidence.astype(np.float64), 0, 1)
    return BoxPath(track.pts_seconds, track.boxes_px.astype(np.float64), confidences)
