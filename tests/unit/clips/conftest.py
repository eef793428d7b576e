import numpy as np
import pytest

from services.perception.encode import write_mp4
from services.perception.frame import Frame


@pytest.fixture
def write_clip(tmp_path):
    """Writes a clip whose brightness grows with time: 10 grey levels for every picture."""

    def write(name="clip.mp4", *, seconds=2.0, rate_hz=10.0, width_px=96, height_px=64):
        count = round(seconds * rate_hz)
        frames = [
            Frame(np.full((height_px, width_px, 3), 20 + 10 * i, np.uint8), i / rate_hz, 1 / rate_hz)
            for i in range(count)
        ]
        write_mp4(frames, tmp_path / name, quality_crf=5)
        return tmp_path / name

    return write
