"""A static pinhole camera above a ground plane.

World axes: x right, y up, z away from the camera, metres; the ground is y = 0 and the camera stands over the origin.
View axes at a point: x right, y up, z towards the camera.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the camera stands and how it projects.

    Attributes:
        width_px: Frame width.
        height_px: Frame height.
        focal_px: Focal length.
        height_m: Height of the camera over the ground.
        pitch_rad: Downward tilt of the optical axis.
    """

    width_px: int
    height_px: int
    focal_px: float
    height_m: float
    pitch_rad: float

    def project(self, points_m: Floats) -> Floats:
        """Project world points.

        Args:
            points_m: (..., 3), metres.

        Returns:
            (..., 3): x px, y px, depth along the optical axis in metres.
        """
        up_m = points_m[..., 1] - self.height_m
        cos, sin = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        depth_m = np.maximum(points_m[..., 2] * cos - up_m * sin, 0.2)
        height_m = up_m * cos + points_m[..., 2] * sin
        return np.stack(
            [
                self.width_px / 2 + self.focal_px * points_m[..., 0] / depth_m,
                self.height_px / 2 - self.focal_px * height_m / depth_m,
                depth_m,
            ],
            axis=-1,
        )

    def rays(self) -> Floats:
        """Direction of sight of every pixel centre, world axes, not normalised: (height_px, width_px, 3)."""
        x_px, y_px = np.meshgrid(np.arange(self.width_px) + 0.5, np.arange(self.height_px) + 0.5)
        right = (x_px - self.width_px / 2) / self.focal_px
        up = (self.height_px / 2 - y_px) / self.focal_px
        cos, sin = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        return np.stack([right, up * cos - sin, up * sin + cos], axis=-1)

    def view_axes(self, point_m: Floats) -> Floats:
        """Axes of an observer in the camera's place who looks straight at a point: rows right, up, towards camera."""
        towards = np.array([0.0, self.height_m, 0.0]) - point_m
        towards /= np.linalg.norm(towards)
        # The world's axes are left-handed (z runs away from the viewer), hence the order of the products.
        right = np.cross(towards, np.array([0.0, 1.0, 0.0]))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(right, towards), towards])
