"""Frame: one picture of a clip, and when it is shown."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""RGB, uint8, (H, W, 3)."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture, upright, and its place in time.

    Attributes:
        rgb: uint8, (H, W, 3).
        pts_seconds: When it is first shown, counted from the clip's first frame.
        duration_seconds: How long it is shown, where the file says so; else 0.
    """

    rgb: Picture
    pts_seconds: float
    duration_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or 0 in self.rgb.shape:
            raise ValueError(f"frame of shape {self.rgb.shape} {self.rgb.dtype}: expected (H, W, 3) uint8")
        if not math.isfinite(self.pts_seconds) or self.duration_seconds < 0:
            raise ValueError(f"frame at {self.pts_seconds} s lasting {self.duration_seconds} s: expected real times")

    @property
    def width_px(self) -> int:
        """Columns."""
        return int(self.rgb.shape[1])

    @property
    def height_px(self) -> int:
        """Rows."""
        return int(self.rgb.shape[0])

    def __repr__(self) -> str:
        return f"Frame({self.width_px}x{self.height_px} at {self.pts_seconds:.3f} s)"
