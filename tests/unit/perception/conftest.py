"""Small generated clips, so that what a file holds is known exactly."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray


class MakeClip(Protocol):
    def __call__(
        self,
        pts_seconds: Sequence[float],
        *,
        size_px: tuple[int, int] = (64, 48),
        name: str = "clip.mkv",
        codec: str = "ffv1",
        pix_fmt: str = "bgr0",
        options: dict[str, str] | None = None,
        rotation: int = 0,
        interlaced: bool = False,
        pictures: Sequence[NDArray[np.uint8]] | None = None,
    ) -> Path: ...


def grey_picture(level: int, size_px: tuple[int, int] = (64, 48)) -> NDArray[np.uint8]:
    """One even level, which says which frame it is even after lossy coding."""
    return np.full((size_px[1], size_px[0], 3), level, np.uint8)


@pytest.fixture
def make_clip(tmp_path: Path) -> MakeClip:
    """Writes a lossless clip; frame i is an even grey of level 10 + 4 i, or what `pictures` gives."""

    def make(
        pts_seconds: Sequence[float],
        *,
        size_px: tuple[int, int] = (64, 48),
        name: str = "clip.mkv",
        codec: str = "ffv1",
        pix_fmt: str = "bgr0",
        options: dict[str, str] | None = None,
        rotation: int = 0,
        interlaced: bool = False,
        pictures: Sequence[NDArray[np.uint8]] | None = None,
    ) -> Path:
        path = tmp_path / name
        base = Fraction(1, 12_000)
        given = {**(options or {}), **({"x264-params": "tff=1"} if interlaced else {})}
        steps_seconds = [*np.diff(pts_seconds), 1.0]
        rate_hz = Fraction(1 / min(steps_seconds)).limit_denominator(1000)
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream(codec, rate=rate_hz, options=given)
            stream.width, stream.height = size_px
            stream.pix_fmt = pix_fmt
            stream.time_base = base
            stream.codec_context.time_base = base
            if rotation:
                stream.set_display_rotation(rotation)
            for index, seconds in enumerate(pts_seconds):
                rgb = grey_picture((10 + 4 * index) % 256, size_px) if pictures is None else pictures[index]
                frame = VideoFrame.from_ndarray(rgb, format="rgb24")
                frame.pts = round(seconds / base)
                frame.time_base = base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make
