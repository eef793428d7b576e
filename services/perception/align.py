"""Align: one face warped onto the template its embedder was trained on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import FaceChipSpec
from services.contracts.errors import BadInput
from services.perception.frame import Picture


class AlignmentFailed(BadInput):
    """The landmarks determine no similarity transform."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceChip:
    """A face as its embedder wants to see it, before channels are swapped and numbers scaled.

    Attributes:
        rgb: uint8, (S, S, 3).
        magnification: Chip pixels for one pixel of the picture; far above 1 the chip is guesswork.
    """

    rgb: Picture
    magnification: float

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[0] != self.rgb.shape[1]:
            raise ValueError(f"chip of shape {self.rgb.shape} {self.rgb.dtype}: expected (S, S, 3) uint8")

    def to_input(self, spec: FaceChipSpec) -> NDArray[np.float32]:
        """The numbers the network reads: float32, (3, S, S), channels and range as the card says."""
        channels = self.rgb if spec.channels == "RGB" else self.rgb[..., ::-1]
        scaled = (channels.astype(np.float32) - np.array(spec.mean, np.float32)) * np.float32(spec.scale)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def align_face(picture: Picture, landmarks_px: NDArray[np.floating], spec: FaceChipSpec) -> FaceChip:
    """Warp one face so that its five landmarks lie on the template.

    Bilinear; where the face shrinks, each chip pixel averages several samples so that nothing aliases. Outside
    the picture its edge is repeated.

    Args:
        picture: RGB, uint8, (H, W, 3).
        landmarks_px: (5, 2), xy in `picture`: eyes (left in the picture first), nose, mouth corners.
        spec: Side and template, from the embedder's card.

    Returns:
        Chip of shape (spec.size_px, spec.size_px, 3).

    Raises:
        AlignmentFailed: The landmarks coincide or are not finite.
    """
    template_px = np.array(spec.template, np.float64) * spec.size_px
    to_picture = fit_similarity(template_px, landmarks_px)
    step_px = float(np.hypot(to_picture[0, 0], to_picture[1, 0]))
    samples = int(np.clip(np.ceil(step_px), 1, 8))
    side = spec.size_px * samples
    # Pixel centres lie at half pixels, in the chip and in the picture.
    places = (np.arange(side) + 0.5) / samples
    x, y = np.meshgrid(places, places)
    source_x = to_picture[0, 0] * x + to_picture[0, 1] * y + to_picture[0, 2] - 0.5
    source_y = to_picture[1, 0] * x + to_picture[1, 1] * y + to_picture[1, 2] - 0.5
    fine = _sample_bilinear(picture, source_x, source_y)
    coarse = fine.reshape(spec.size_px, samples, spec.size_px, samples, 3).mean((1, 3))
    return FaceChip(np.clip(np.rint(coarse), 0, 255).astype(np.uint8), 1 / step_px)


def fit_similarity(points: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring `points` nearest to `targets`, least squares.

    Args:
        points: (N, 2).
        targets: (N, 2).

    Returns:
        float64, (2, 3): apply as `matrix @ (x, y, 1)`. Never a reflection.

    Raises:
        AlignmentFailed: Either set coincides in one point, or is not finite.

    Source: Umeyama, PAMI 1991; in two dimensions his decomposition has this closed form.
    """
    points, targets = np.asarray(points, np.float64), np.asarray(targets, np.float64)
    if not (np.isfinite(points).all() and np.isfinite(targets).all()):
        raise AlignmentFailed("landmarks are not finite numbers; the detection is unusable")
    centre, target_centre = points.mean(0), targets.mean(0)
    p, t = points - centre, targets - target_centre
    spread = float((p**2).sum())
    cosine = float((p * t).sum())
    sine = float((p[:, 0] * t[:, 1] - p[:, 1] * t[:, 0]).sum())
    if spread < 1e-9 or np.hypot(cosine, sine) / spread < 1e-6:
        raise AlignmentFailed(f"landmarks {targets.round(1).tolist()} coincide: no similarity transform exists")
    a, b = cosine / spread, sine / spread
    linear = np.array([[a, -b], [b, a]])
    return np.hstack([linear, (target_centre - linear @ centre)[:, None]])


def _sample_bilinear(picture: Picture, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float32]:
    height_px, width_px = picture.shape[:2]
    x, y = np.clip(x, 0, width_px - 1), np.clip(y, 0, height_px - 1)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right, bottom = np.minimum(left + 1, width_px - 1), np.minimum(top + 1, height_px - 1)
    across = (x - left).astype(np.float32)[..., None]
    down = (y - top).astype(np.float32)[..., None]
    upper = picture[top, left] * (1 - across) + picture[top, right] * across
    lower = picture[bottom, left] * (1 - across) + picture[bottom, right] * across
    blended: NDArray[np.float32] = upper * (1 - down) + lower * down
    return blended
