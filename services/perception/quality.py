"""Quality: how much a face crop says about who it is, and why."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.perception.frame import Picture

# Distance between the eyes at which a face says all it can, and at which it says nothing.
_FULL_EYE_DISTANCE_PX = 32.0
_NO_EYE_DISTANCE_PX = 5.0
# Variance of the Laplacian of a face scaled to one size, over its brightness variance: what sharp faces reach.
_SHARP_RATIO = 0.04
_MEASURED_SIDE_PX = 64
# Brightness variance that noise alone reaches in the dark: contrast of no more than that shows no face.
_NOISE_VARIANCE = 150.0
# Turned further than this, half of the face is hidden.
_FULL_YAW_RAD = math.radians(60)
_FULL_PITCH_RAD = math.radians(50)
# Where the nose tip of an average frontal face lies between the eyes (0) and the mouth (1).
_FRONTAL_NOSE_SHARE = 0.55
# How far the nose tip stands out, in eye distances (yaw) and in eye-to-mouth distances (pitch).
_NOSE_DEPTH_TO_EYES = 0.6
_NOSE_DEPTH_TO_HEIGHT = 0.6


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """The parts of a face's quality, each 0 (useless) to 1 (nothing to gain), and the pose behind one of them.

    Attributes:
        size: By the distance between the eyes and mouth, pixels.
        sharpness: By the variance of the Laplacian at one scale, relative to contrast.
        pose: By yaw and pitch.
        confidence: The detector's.
        yaw_rad: Turned to the picture's right is positive; a coarse estimate from five points.
        pitch_rad: Looking up is positive.
    """

    size: float
    sharpness: float
    pose: float
    confidence: float
    yaw_rad: float
    pitch_rad: float

    @property
    def overall(self) -> float:
        """One number, 0 to 1: the geometric mean, so that one bad part is not outweighed by good ones."""
        return float((self.size * self.sharpness * self.pose * self.confidence) ** 0.25)


def rate_face(
    picture: Picture, box_px: NDArray[np.float32], landmarks_px: NDArray[np.float32], confidence: float
) -> FaceQuality:
    """Rate one face in a picture.

    Args:
        picture: RGB, uint8, (H, W, 3).
        box_px: (4,), of the face, in `picture`.
        landmarks_px: (5, 2), in `picture`.
        confidence: The detector's, 0 to 1.

    Returns:
        All parts; `overall` sums them up.

    Source: Pech-Pacheco et al., ICPR 2000 (variance of the Laplacian as focus measure).
    """
    yaw_rad, pitch_rad = estimate_pose(landmarks_px)
    pose = max(0.0, math.cos(min(abs(yaw_rad) / _FULL_YAW_RAD, 1) * math.pi / 2)) * max(
        0.0, math.cos(min(abs(pitch_rad) / _FULL_PITCH_RAD, 1) * math.pi / 2)
    )
    return FaceQuality(
        size=_rate_size(landmarks_px),
        sharpness=_rate_sharpness(picture, box_px),
        pose=pose,
        confidence=float(confidence),
        yaw_rad=yaw_rad,
        pitch_rad=pitch_rad,
    )


def estimate_pose(landmarks_px: NDArray[np.float32]) -> tuple[float, float]:
    """Yaw and pitch from where the nose tip lies between eyes and mouth.

    Args:
        landmarks_px: (5, 2): eyes (left in the picture first), nose, mouth corners.

    Returns:
        Radians, each within ±π/2. Roll is taken out first.
    """
    points = landmarks_px.astype(np.float64)
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    down = mouth - eyes
    height_px = float(np.hypot(*down))
    if height_px < 1e-6:
        return math.pi / 2, math.pi / 2
    down /= height_px
    right = np.array([down[1], -down[0]])
    nose = points[2] - eyes
    width_px = max(abs(float((points[1] - points[0]) @ right)), abs(float((points[4] - points[3]) @ right)), 1e-6)
    # A turned head's eyes draw together: its height is the steadier measure of its size.
    full_width_px = max(width_px, 0.8 * height_px)
    yaw = math.asin(float(np.clip(nose @ right / (full_width_px * _NOSE_DEPTH_TO_EYES), -1, 1)))
    lift = _FRONTAL_NOSE_SHARE - float(nose @ down) / height_px
    pitch = math.asin(float(np.clip(lift / _NOSE_DEPTH_TO_HEIGHT, -1, 1)))
    return yaw, pitch


def _rate_size(landmarks_px: NDArray[np.float32]) -> float:
    across_px = float(np.hypot(*(landmarks_px[1] - landmarks_px[0])))
    down_px = float(np.hypot(*(landmarks_px[3:].mean(0) - landmarks_px[:2].mean(0))))
    share = (max(across_px, down_px) - _NO_EYE_DISTANCE_PX) / (_FULL_EYE_DISTANCE_PX - _NO_EYE_DISTANCE_PX)
    return float(np.clip(share, 0, 1))


def _rate_sharpness(picture: Picture, box_px: NDArray[np.float32]) -> float:
    """Only detail that survives scaling to one size counts: noise of a big face and pixels of a small one do not."""
    left, top = np.floor(np.maximum(box_px[:2], 0)).astype(int)
    right, bottom = np.ceil(box_px[2:]).astype(int)
    grey = picture[top:bottom, left:right].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    if min(grey.shape) < 3:
        return 0.0
    grey = _at_side(grey, _MEASURED_SIDE_PX)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(np.clip(float(laplacian.var()) / (float(grey.var()) + _NOISE_VARIANCE) / _SHARP_RATIO, 0, 1))


def _at_side(grey: NDArray[np.float32], side_px: int) -> NDArray[np.float32]:
    from PIL import Image

    scaled = Image.fromarray(grey, mode="F").resize((side_px, side_px), Image.Resampling.BILINEAR)
    return np.asarray(scaled, np.float32)
