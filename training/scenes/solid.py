"""Rounded solids drawn exactly: tapered limbs and ellipsoids, each pixel solved as a quadric, nearest one wins.

Canvas space: x px right, y px down, z px towards the camera (weak perspective over one person).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Canvas:
    """Depth, normal and material of every pixel of a small picture."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self.depth = np.full((height_px, width_px), -np.inf, dtype=np.float32)
        self.normal = np.zeros((height_px, width_px, 3), dtype=np.float32)
        self.material = np.full((height_px, width_px), -1, dtype=np.int16)

    def add_limb(
        self,
        start: Floats,
        end: Floats,
        start_radius: float,
        end_radius: float,
        material: int,
        *,
        thin: Floats | None = None,
        thinness: float = 1.0,
        hem: bool = False,
    ) -> None:
        """Draw a round-ended cone, optionally flattened.

        Args:
            start: (3,) canvas space.
            end: (3,).
            start_radius: px.
            end_radius: px.
            material: Small integer kept per pixel.
            thin: (3,) unit direction along which the section is squeezed.
            thinness: Section's size along `thin` as a share of its radius.
            hem: Leave the start open, cut straight, like a shirt's.
        """
        reach = max(start_radius, end_radius) + 1.0
        low = np.floor(np.minimum(start, end)[:2] - reach).astype(int)
        high = np.ceil(np.maximum(start, end)[:2] + reach).astype(int) + 1
        x0, y0 = np.maximum(low, 0)
        x1, y1 = np.minimum(high, self.depth.shape[::-1])
        if x0 >= x1 or y0 >= y1:
            return
        squeeze = np.eye(3) if thin is None else np.eye(3) + (1 / thinness - 1) * np.outer(thin, thin)
        column = np.arange(x0, x1, dtype=np.float32)[None, :] + np.float32(0.5)
        row = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5)
        m = squeeze.astype(np.float32)
        sight = m[:, 2]
        axis = squeeze @ (end - start)
        length = float(np.linalg.norm(axis))
        window = (slice(y0, y1), slice(x0, x1))
        best, normal = self.depth[window], self.normal[window]
        won = np.zeros(best.shape, dtype=np.bool_)

        def origin(centre: Floats) -> list[NDArray[np.float32]]:
            base = (squeeze @ centre).astype(np.float32)
            return [m[k, 0] * column + m[k, 1] * row - base[k] for k in range(3)]

        def settle(hit: NDArray[np.bool_], z: NDArray[np.float32], outward: list[NDArray[np.float32]]) -> None:
            hit &= z > best
            if not hit.any():
                return
            picked = np.stack([part[hit] for part in outward], axis=-1) @ m
            picked /= np.linalg.norm(picked, axis=-1, keepdims=True) + 1e-6
            best[hit] = z[hit]
            normal[hit] = picked
            won[hit] = True

        sight_sight = float(sight @ sight)
        caps = [(end, end_radius)] if hem else [(start, start_radius), (end, end_radius)]
        for centre, radius in caps:
            o = origin(centre)
            half_b = o[0] * sight[0] + o[1] * sight[1] + o[2] * sight[2]
            c = o[0] ** 2 + o[1] ** 2 + o[2] ** 2 - np.float32(radius**2)
            inside = half_b**2 - np.float32(sight_sight) * c
            hit = inside > 0
            z = (np.sqrt(np.maximum(inside, 0)) - half_b) / np.float32(sight_sight)
            settle(hit, z, [o[k] + z * sight[k] for k in range(3)])
        if length > 1e-3:
            unit = (axis / length).astype(np.float32)
            slope = np.float32((end_radius - start_radius) / length)
            o = origin(start)
            along = o[0] * unit[0] + o[1] * unit[1] + o[2] * unit[2]
            rate = np.float32(sight @ unit)
            reach_now = np.float32(start_radius) + slope * along
            a = np.float32(sight_sight) - rate**2 - (slope * rate) ** 2
            if a > 1e-4:
                half_b = o[0] * sight[0] + o[1] * sight[1] + o[2] * sight[2] - along * rate - reach_now * slope * rate
                c = o[0] ** 2 + o[1] ** 2 + o[2] ** 2 - along**2 - reach_now**2
                inside = half_b**2 - a * c
                z = (np.sqrt(np.maximum(inside, 0)) - half_b) / a
                place = along + z * rate
                hit = (inside > 0) & (place >= 0) & (place <= length)
                radius_there = np.float32(start_radius) + slope * place
                settle(hit, z, [o[k] + z * sight[k] - (place + slope * radius_there) * unit[k] for k in range(3)])
        self.material[window][won] = material
