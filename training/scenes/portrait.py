"""A head seen from one side under one light: pixels, depth, and where the face is in them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.scenes.head import Head

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Light:
    """How a place is lit, in view axes (x right, y up, z towards the camera).

    Attributes:
        direction: Unit vector towards the lamp.
        key: Strength of the lamp.
        ambient: Strength of the light from everywhere.
        tint: RGB gains: colour temperature.
    """

    direction: tuple[float, float, float]
    key: float
    ambient: float
    tint: tuple[float, float, float]

    def shade(self, albedo: Floats, normals: Floats, gloss: Floats | float) -> Floats:
        """Light a surface: (N, 3) display values, 0 to 255, from (N, 3) albedo and view-space normals."""
        lamp = np.array(self.direction)
        wrapped = np.clip((normals @ lamp + 0.35) / 1.35, 0.0, 1.0)
        sky = 0.62 + 0.38 * normals[..., 1]
        half = lamp + np.array([0.0, 0.0, 1.0])
        half /= np.linalg.norm(half)
        shine = np.clip(normals @ half, 0.0, 1.0) ** 24 * gloss
        # Surfaces that turn away see less of the room: contours darken, as on real cloth and skin.
        rim = 0.70 + 0.30 * np.clip(normals[..., 2], 0.0, 1.0)
        lit = albedo * ((self.ambient * sky + self.key * wrapped) * rim)[..., None] + (self.key * shine)[..., None]
        return np.asarray(255.0 * np.clip(lit * np.array(self.tint), 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class Portrait:
    """A drawn head; the picture's centre is the head's origin.

    Attributes:
        rgba: (S, S, 4) uint8, straight alpha.
        depth: (S, S) float32 towards the camera, head units.
        face_mask: (S, S) uint8, 255 on the face.
        landmarks: (5, 3): x right, y up, depth; head units.
        unit_px: Pixels per head unit.
    """

    rgba: Bytes
    depth: NDArray[np.float32]
    face_mask: Bytes
    landmarks: Floats
    unit_px: float


def turn_matrix(yaw_rad: float, pitch_rad: float) -> Floats:
    """Rotation from head axes to view axes: turn by yaw (positive to the picture's right), then tip by pitch."""
    cos_y, sin_y, cos_p, sin_p = np.cos(yaw_rad), np.sin(yaw_rad), np.cos(pitch_rad), np.sin(pitch_rad)
    yaw = np.array([[cos_y, 0, sin_y], [0, 1, 0], [-sin_y, 0, cos_y]])
    pitch = np.array([[1, 0, 0], [0, cos_p, -sin_p], [0, sin_p, cos_p]])
    return np.asarray(pitch @ yaw)


def draw_head(head: Head, light: Light, *, yaw_rad: float, pitch_rad: float, height_px: int) -> Portrait:
    """Draw a head by splatting its points back to front.

    Args:
        head: Built for at least `height_px`.
        light: In view axes.
        yaw_rad: 0 faces the camera.
        pitch_rad: Positive tips the crown towards the camera.
        height_px: Crown-to-chin size.
    """
    rotation = turn_matrix(yaw_rad, pitch_rad)
    size = int(height_px * 2.1) // 2 * 2
    normals = head.normals @ rotation.T
    shown = np.flatnonzero(normals[:, 2] > -0.05)
    points = head.points[shown] @ rotation.T
    order = np.argsort(points[:, 2].astype(np.float32), kind="stable")
    shown, points = shown[order], points[order]
    column = np.rint(points[:, 0] * height_px + size / 2).astype(np.int64)
    row = np.rint(size / 2 - points[:, 1] * height_px).astype(np.int64)
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    winner = np.full(size * size, -1, dtype=np.int64)
    winner[(row * size + column)[inside]] = np.flatnonzero(inside)
    winner = _fill_pinholes(winner.reshape(size, size)).reshape(-1)

    drawn = np.flatnonzero(winner >= 0)
    chosen = winner[drawn]
    source = shown[chosen]
    rgba = np.zeros((size * size, 4), dtype=np.uint8)
    rgba[drawn, :3] = light.shade(head.albedo[source], normals[source], head.gloss[source])
    rgba[drawn, 3] = 255
    depth = np.full(size * size, -9.0, dtype=np.float32)
    depth[drawn] = points[chosen, 2]
    mask = np.zeros(size * size, dtype=np.uint8)
    mask[drawn[head.is_face[source]]] = 255
    return Portrait(
        rgba.reshape(size, size, 4),
        depth.reshape(size, size),
        mask.reshape(size, size),
        head.landmarks @ rotation.T,
        float(height_px),
    )


def _fill_pinholes(winner: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give an empty pixel its neighbour's point when pixels on opposite sides are drawn."""
    for axis in (0, 1):
        before, after = np.roll(winner, 1, axis), np.roll(winner, -1, axis)
        winner = np.where((winner < 0) & (before >= 0) & (after >= 0), before, winner)
    return winner
