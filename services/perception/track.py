"""Track: one person followed through a clip, as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.perception.detection import Boxes


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Where one person was, picture by picture.

    Attributes:
        track_id: "t1", "t2", ... in order of appearance.
        pts_seconds: float64, (N,), growing.
        boxes_px: float32, (N, 4), smoothed, in pixels of the upright source picture; may reach outside it.
        confidence: float32, (N,): the detector's; 0 where the box was carried over from the motion.
        detected: bool, (N,): whether the person was found in that very picture.
    """

    track_id: str
    pts_seconds: NDArray[np.float64]
    boxes_px: Boxes
    confidence: NDArray[np.float32]
    detected: NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.pts_seconds)
        shapes = (self.boxes_px.shape, self.confidence.shape, self.detected.shape)
        if n == 0 or shapes != ((n, 4), (n,), (n,)):
            raise ValueError(f"track {self.track_id}: {n} times beside {shapes}: expected (N, 4), (N,), (N,)")
        if not np.all(np.diff(self.pts_seconds) > 0):
            raise ValueError(f"track {self.track_id}: times must grow")

    def __len__(self) -> int:
        return len(self.pts_seconds)

    def __repr__(self) -> str:
        span = f"{self.pts_seconds[0]:.3f}-{self.pts_seconds[-1]:.3f} s"
        return f"Track({self.track_id}, {len(self)} boxes, {span})"
