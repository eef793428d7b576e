"""Encode: a small H.264 MP4 that plays everywhere. Imports av, with decode alone."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from services.perception.frame import Frame

# Divides every common frame rate, so that times are kept exactly.
_TIME_BASE = Fraction(1, 90_000)
# The number of threads is written into the stream: fixed, so that the same frames give the same bytes anywhere.
_THREADS = 2
_OPTIONS = {"movflags": "+faststart", "fflags": "+bitexact"}

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
    with _complete(path) as partial:
        _encode(frames, partial, quality_crf, preset)


def repeat_mp4(path: Path, out: Path, times: int) -> None:
    """Write a clip's pictures several times over, one showing after the other, without encoding them anew.

    Args:
        path: An MP4, as `write_mp4` makes it.
        out: Appears when complete, never half-written.
        times: How often the clip is shown.

    Raises:
        ValueError: `times` is below 1.
    """
    if times < 1:
        raise ValueError(f"a clip shown {times} times is none: give 1 or more")
    with (
        av.open(str(path)) as source,
        _complete(out) as partial,
        av.open(partial, "w", format="mp4", options=_OPTIONS) as container,
    ):
        stream = source.streams.video[0]
        copy = container.add_stream_from_template(stream)
        starts, ends = zip(*((pts, pts + (packet.duration or 0)) for packet, pts, _ in _timed(source)), strict=True)
        length_ticks = max(ends) - min(starts)
        for showing in range(times):
            source.seek(0)
            for packet, pts, dts in _timed(source):
                packet.pts, packet.dts = pts + showing * length_ticks, dts + showing * length_ticks
                packet.stream = copy
                container.mux(packet)


def _timed(source: InputContainer) -> Iterator[tuple["Packet[VideoStream]", int, int]]:
    """The video's packets, each with the ticks at which it is shown and decoded."""
    for packet in source.demux(source.streams.video[0]):
        # The last packet that demuxing gives is empty: it tells a decoder that nothing follows.
        if packet.pts is not None and packet.dts is not None:
            yield packet, packet.pts, packet.dts


@contextlib.contextmanager
def _complete(path: Path) -> Iterator[str]:
    """Where to write a file that appears at `path` when all went well."""
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".mp4")
    os.close(handle)
    try:
        yield partial
        os.chmod(partial, 0o644)
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def _encode(frames: Iterable[Frame], path: str, quality_crf: int, preset: Preset) -> None:
    with av.open(path, "w", format="mp4", options=_OPTIONS) as container:
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
