"""Motion: a Kalman filter for one box, in seconds."""

import numpy as np
from numpy.typing import NDArray

# All noise is in box heights, so that near and far people are treated alike.
_ACCELERATION = 2.0  # heights/s²: people start, stop and turn.
_MEASUREMENT = 0.04  # heights: how much a detector's box edges jitter.
_FIRST_SPEED = 1.0  # heights/s: what a person seen once may be doing.
# A person out of sight slows down, and neither grows nor shrinks, or predictions fly off.
_SPEED_DECAY_SECONDS = np.array([1.5, 1.5, 0.3, 0.3])


class BoxMotion:
    """Constant velocity, slowly forgotten, of a box's centre and of its width and height.

    The four are filtered apart, since each is measured directly.

    Source: SORT, arXiv:1602.00763.
    """

    def __init__(self, box_px: NDArray[np.floating]) -> None:
        """Start from one detection, (4,) xyxy."""
        self._value = _to_centre(box_px)
        self._speed = np.zeros(4)
        height = self._value[3]
        # (4, 2, 2): of value and speed, for each of the four.
        self._covariance = np.zeros((4, 2, 2))
        self._covariance[:, 0, 0] = (_MEASUREMENT * height) ** 2
        self._covariance[:, 1, 1] = (_FIRST_SPEED * height) ** 2

    @property
    def box_px(self) -> NDArray[np.float32]:
        """Where the box is now, (4,) xyxy."""
        x, y, width, height = self._value
        return np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2], np.float32)

    def predict(self, seconds: float) -> None:
        """Move on in time."""
        decay = np.exp(-seconds / _SPEED_DECAY_SECONDS)
        reach = _SPEED_DECAY_SECONDS * (1 - decay)
        self._value = self._value + self._speed * reach
        self._value[2:] = np.maximum(self._value[2:], 2.0)
        self._speed = self._speed * decay
        step = np.zeros((4, 2, 2))
        step[:, 0, 0] = 1
        step[:, 0, 1] = reach
        step[:, 1, 1] = decay
        noise = (_ACCELERATION * self._value[3]) ** 2 * np.array(
            [[seconds**4 / 4, seconds**3 / 2], [seconds**3 / 2, seconds**2]]
        )
        self._covariance = step @ self._covariance @ step.transpose(0, 2, 1) + noise

    def correct(self, box_px: NDArray[np.floating], jitter: float = 1.0) -> None:
        """Take in a detection; `jitter` above 1 trusts it less."""
        measured = _to_centre(box_px)
        variance = (_MEASUREMENT * jitter * measured[3]) ** 2
        gain = self._covariance[:, :, 0] / (self._covariance[:, 0, 0] + variance)[:, None]
        surprise = measured - self._value
        self._value = self._value + gain[:, 0] * surprise
        self._speed = self._speed + gain[:, 1] * surprise
        self._covariance = self._covariance - gain[:, :, None] * self._covariance[:, 0, None, :]

    @classmethod
    def between(cls, box_px: NDArray[np.floating], later_px: NDArray[np.floating], seconds: float) -> "BoxMotion":
        """Start at `later_px`, seen `seconds` after `box_px`: the speed across an occlusion, measured.

        Source: OC-SORT, arXiv:2203.14360 (observations before estimates grown old).
        """
        motion = cls(later_px)
        motion._speed[:2] = (_to_centre(later_px) - _to_centre(box_px))[:2] / seconds
        return motion


def _to_centre(box_px: NDArray[np.floating]) -> NDArray[np.float64]:
    left, top, right, bottom = (float(edge) for edge in box_px)
    return np.array([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])
