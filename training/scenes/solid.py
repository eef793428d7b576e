"""Rounded solids drawn exactly: limbs are cones between spheres, each pixel solved as a quadric, nearest one wins.

Canvas space: x px right, y px down, z px towards the camera (weak perspective over one person).

A quadric around a centre is p'Hp - 2h'p = s with p relative to that centre; for a line of sight through (x, y) it is
quadratic in z, and its gradient Hp - h is the surface's normal.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]


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
        open_start: bool = False,
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
            open_start: Cut straight at the start: a hem, or where the limb before has a round end already.
        """
        reach = max(start_radius, end_radius) + 1.0
        x0, y0 = np.maximum(np.floor(np.minimum(start, end)[:2] - reach).astype(int), 0)
        x1, y1 = np.minimum(np.ceil(np.maximum(start, end)[:2] + reach).astype(int) + 1, self.depth.shape[::-1])
        if x0 >= x1 or y0 >= y1:
            return
        window = (slice(y0, y1), slice(x0, x1))
        x = np.arange(x0, x1, dtype=np.float32)[None, :] + np.float32(0.5)
        y = np.arange(y0, y1, dtype=np.float32)[:, None] + np.float32(0.5)
        squeeze = np.eye(3) if thin is None else np.eye(3) + (1 / thinness - 1) * np.outer(thin, thin)
        round_form = squeeze.T @ squeeze
        none = np.zeros(3)
        if not open_start:
            self._add_quadric(window, x, y, start, round_form, none, start_radius**2, material)
        self._add_quadric(window, x, y, end, round_form, none, end_radius**2, material)
        axis = squeeze @ (end - start)
        length = float(np.linalg.norm(axis))
        if length < 1e-3:
            return
        slope = (end_radius - start_radius) / length
        along = squeeze.T @ axis / length
        cone = round_form - (1 + slope**2) * np.outer(along, along)
        # Seen along its axis a cone has no side to draw: the round ends cover it.
        if cone[2, 2] > 1e-4:
            slant = start_radius * slope * along
            self._add_quadric(window, x, y, start, cone, slant, start_radius**2, material, along=along, length=length)

    def _add_quadric(
        self,
        window: tuple[slice, slice],
        x: Singles,
        y: Singles,
        centre: Floats,
        form: Floats,
        slant: Floats,
        size: float,
        material: int,
        *,
        along: Floats | None = None,
        length: float = 0.0,
    ) -> None:
        x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
        f, s = form.astype(np.float32), slant.astype(np.float32)
        half_b = (f[0, 2] * x - s[2]) + f[1, 2] * y
        c = (f[0, 0] * x * x - 2 * s[0] * x - np.float32(size)) + (f[1, 1] * y * y - 2 * s[1] * y)
        if f[0, 1] != 0:
            c += 2 * f[0, 1] * x * y
        inside = half_b * half_b - f[2, 2] * c
        depth = self.depth[window]
        with np.errstate(invalid="ignore"):
            z = (np.sqrt(inside) - half_b) / f[2, 2]
            hit = z + np.float32(centre[2]) > depth
            if along is not None:
                g = along.astype(np.float32)
                place = g[0] * x + g[1] * y + g[2] * z
                hit &= (place >= 0) & (place <= np.float32(length))
        rows, columns = np.nonzero(hit)
        if len(rows) == 0:
            return
        deep = z[rows, columns]
        normals = np.stack([x[0, columns], y[rows, 0], deep], axis=-1) @ f - s
        normals /= np.sqrt(np.einsum("ij,ij->i", normals, normals))[:, None] + np.float32(1e-6)
        depth[rows, columns] = deep + np.float32(centre[2])
        self.normal[window][rows, columns] = normals
        self.material[window][rows, columns] = material
