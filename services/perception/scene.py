"""Scene: where a clip was cut and the camera shows something else."""

import numpy as np
from numpy.typing import NDArray

from services.perception.crop import resize
from services.perception.frame import Frame

_WIDTH_PX, _HEIGHT_PX = 32, 18
# Two pictures of one scene correlate, whatever moves in it and however the light changes; and a picture so dark
# or so even that nothing can correlate does not change much either.
_LEAST_CORRELATION = 0.4
_LEAST_CHANGE = 12.0


class SceneWatch:
    """Compares each picture with the one before it."""

    def __init__(self) -> None:
        """No picture yet."""
        self._last: NDArray[np.float32] | None = None

    def is_cut(self, frame: Frame) -> bool:
        """Whether `frame` belongs to another scene than the frame given before it."""
        small = resize(frame.rgb[::4, ::4] if frame.width_px >= 640 else frame.rgb, _WIDTH_PX, _HEIGHT_PX)
        grey = small.mean(axis=2, dtype=np.float32)
        last, self._last = self._last, grey
        if last is None:
            return False
        one, other = grey - grey.mean(), last - last.mean()
        correlation = float((one * other).sum() / max(np.sqrt((one**2).sum() * (other**2).sum()), 1e-6))
        return correlation < _LEAST_CORRELATION and float(np.abs(grey - last).mean()) > _LEAST_CHANGE
