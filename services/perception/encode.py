"""Encode: a small H.264 MP4 that plays everywhere. Imports av, with decode alone."""

import os
import tempfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.frame import VideoFrame

from services.perception.frame import Frame

# Divides every common frame rate, so that times are kept exactly.
_TIME_BASE = Fraction(1, 90_000)
# The number of threads is written into the stream: fixed, so that the same frames give the same bytes anywhere.
_THREADS = 2

Preset = Literal["ultrafast", "veryfast"]
"""x264's: how much time it takes to make the file small."""


def write_mp4(frames: Iterable[Frame], path: Path, *, quality_crf: int = 23, preset: Preset = "veryfast") -> None:
    """Write frames as H.264 with their own times; the same frames give the same bytes.

    Odd sides gain a row or column, a copy of the last one: the codec stores colour for two by two pixels.

    Args:
        frames: All of one size, in order of time; read one by one.
        path: Appears when complete, never half-written.
        quality_crf: x264's constant rate factor: 0 loses almost nothing, 23 looks good, 51 is worst.
        preset: "ultrafast" takes half the time and several times the space.

    Raises:
        ValueError: There is no frame, they change size, or their times do not grow.
    """
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".mp4")
    os.close(handle)
    try:
        _encode(frames, partial, quality_crf, preset)
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def _encode(frames: Iterable[Frame], path: str, quality_crf: int, preset: Preset) -> None:
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(path, "w", format="mp4", options=options) as container:
        stream = container.add_stream("libx264", options={"crf": str(quality_crf), "preset": preset})
        stream.pix_fmt = "yuv420p"
        stream.time_base = _TIME_BASE
        stream.codec_context.time_base = _TIME_BASE
        stream.codec_context.thread_count = _THREADS
        stream.codec_context.flags |= av.codec.context.Flags.bitexact
        size: tuple[int, int] | None = None
        last_ticks = -1
        for frame in frames:
            ticks = round(frame.pts_seconds / _TIME_BASE)
            if size is None:
                size = (frame.width_px, frame.height_px)
                stream.width, stream.height = (side + side % 2 for side in size)
            if (frame.width_px, frame.height_px) != size:
                raise ValueError(f"{frame!r} after frames of {size[0]}x{size[1]}: a clip has one size")
            if ticks <= last_ticks:
                raise ValueError(f"{frame!r} is not after the frame before it")
            last_ticks = ticks
            even_rgb = np.pad(frame.rgb, ((0, size[1] % 2), (0, size[0] % 2), (0, 0)), mode="edge")
            picture = VideoFrame.from_ndarray(np.ascontiguousarray(even_rgb), format="rgb24")
            picture.pts = ticks
            picture.time_base = _TIME_BASE
            container.mux(stream.encode(picture))
        if size is None:
            raise ValueError("no frame to write: a clip has at least one")
        container.mux(stream.encode(None))
