"""Where a person is at any instant, from the frames in which they were detected."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A person unseen for longer may have walked anywhere: no box is better than an invented one.
LONGEST_GAP_SECONDS = 1.0


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

    def _values(self, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.concatenate([self.boxes_px[rows], self.confidences[rows, None]], axis=1)
