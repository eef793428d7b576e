"""Decode: any file FFmpeg reads, streamed as upright RGB frames with right times. Imports av, with encode alone.

THE sampling rule, used for analysis, training and serving alike. At `rate_hz` the grid times are k / rate_hz
from the clip's first frame. At each, the picture is the newest frame shown by then. A frame is never given
twice: where the file has no new frame between two grid times (a slow camera, a pause), none is given. So a
10 fps and a 30 fps copy of one clip give the same pictures at the same times.
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import av
import fsspec
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from services.contracts.errors import BadInput
from services.perception.clip import Clip
from services.perception.frame import Frame, Picture

# Containers round times to at most a millisecond; a frame this little after a grid time was meant to be on it.
_TIME_ROUNDING_SECONDS = 0.001
# A file that ends this much before the length it declares was cut short.
_SHORTFALL_SECONDS = 0.5
# Beyond this many damaged packets in a row there is nothing left to wait for.
_DAMAGED_IN_A_ROW = 500
# Formats that FFmpeg plays and nobody means by a clip: text drawn as video, and lists that name other files.
_NOT_CLIPS = {"tty", "hls", "dash", "concat", "image2", "lavfi"}


def probe(uri: str | Path) -> Clip:
    """Open a file and read what it says of its video.

    Raises:
        BadInput: It is absent, not a video, or holds no picture.
    """
    with Decoding(uri) as decoding:
        return decoding.clip


def decode(
    uri: str | Path,
    *,
    name: str | None = None,
    from_seconds: float = 0.0,
    to_seconds: float | None = None,
    at_rate_hz: float | None = None,
    longest_side_px: int | None = None,
) -> "Decoding":
    """Stream a file's frames, in bounded memory at any length.

    Args:
        uri: A local path, or any fsspec url.
        name: What errors call the file; `uri` by default.
        from_seconds: Frames before it are passed over (by seeking where the file can).
        to_seconds: Up to, not including; None is the end.
        at_rate_hz: Pictures by the sampling rule above; None gives every frame.
        longest_side_px: Larger pictures are shrunk to it while they are converted.

    Returns:
        An iterable to walk once, and to close (it is a context manager). Afterwards its `warnings` say what
        could not be read.

    Raises:
        BadInput: The file is absent, not a video, or holds no picture.

    Sample aspect ratio is not applied: boxes are in stored pixels, turned upright.
    """
    return Decoding(
        uri,
        name=name,
        from_seconds=from_seconds,
        to_seconds=to_seconds,
        at_rate_hz=at_rate_hz,
        longest_side_px=longest_side_px,
    )


class Decoding:
    """One walk through a file's frames; see `decode`.

    Attributes:
        clip: What the file says of itself.
        frames: Frames given so far.
        first_seconds: pts of the first frame given; None before it.
    """

    def __init__(
        self,
        uri: str | Path,
        *,
        name: str | None = None,
        from_seconds: float = 0.0,
        to_seconds: float | None = None,
        at_rate_hz: float | None = None,
        longest_side_px: int | None = None,
    ) -> None:
        self._uri = uri
        self._name = name or str(uri)
        self._from_seconds = from_seconds
        self._to_seconds = math.inf if to_seconds is None else to_seconds
        self._rate_hz = at_rate_hz
        self._longest_side_px = longest_side_px
        self._damaged_packets = 0
        self._read_until_seconds = 0.0
        self._interval_seconds = 0.0
        self._reached_end = False
        self.frames = 0
        self.first_seconds: float | None = None
        self._file = _open_file(uri)
        try:
            self._container = self._open_container()
            self._stream = self._choose_stream()
            # Time 0 is the first picture, not what the header claims: headers of cut or muxed clips are wrong.
            first = self._first_frame()
        except BaseException:
            self.close()
            raise
        self._origin = _ticks(first, self._container.format.name)
        self.clip = self._describe(first)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if container := getattr(self, "_container", None):
            container.close()
        self._file.close()

    @property
    def end_seconds(self) -> float:
        """End of the last frame read, or of the span asked for."""
        return min(self._read_until_seconds, self._to_seconds)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What could not be read so far, in words for a person."""
        found = []
        if self._damaged_packets:
            found.append(f"{self._damaged_packets} damaged packets skipped")
        declared = self.clip.duration_seconds
        if self._reached_end and declared and declared - self._read_until_seconds > _SHORTFALL_SECONDS:
            found.append(f"read up to {self._read_until_seconds:.1f} s of {declared:.1f} s: the file is cut short")
        return tuple(found)

    def __iter__(self) -> Iterator[Frame]:
        """Give frames in order of time.

        Raises:
            BadInput: The span asked for holds no frame.
        """
        for raw, seconds in self._sampled():
            frame = Frame(self._to_rgb(raw), seconds, self._seconds(raw.duration or 0))
            self.frames += 1
            if self.first_seconds is None:
                self.first_seconds = seconds
            yield frame
        if not self.frames:
            raise BadInput(
                f"{self._name}: no frame from {self._from_seconds} s on; it holds {self._read_until_seconds:.3f} s"
            )

    def _sampled(self) -> Iterator[tuple[VideoFrame, float]]:
        """Choose frames by the sampling rule; `waiting` is the newest one, not known to be shown yet."""
        waiting: tuple[VideoFrame, float] | None = None
        shown_at_seconds = 0.0
        given = False
        for raw, seconds in self._timed():
            if seconds < self._from_seconds - _TIME_ROUNDING_SECONDS:
                continue
            if seconds >= self._to_seconds - _TIME_ROUNDING_SECONDS:
                break
            if self._rate_hz is None:
                yield raw, seconds
                continue
            if waiting is not None and seconds > shown_at_seconds + _TIME_ROUNDING_SECONDS:
                yield waiting
                given = True
                waiting = None
            if waiting is None:
                shown_at_seconds = self._grid_after(seconds - _TIME_ROUNDING_SECONDS)
            waiting = (raw, seconds)
        else:
            self._reached_end = True
        if waiting is None:
            return
        # A clip too short to have a grid time in it still has a picture to show.
        end_seconds = waiting[1] + self._shown_for(waiting[0])
        if not given or shown_at_seconds < min(end_seconds, self._to_seconds) - _TIME_ROUNDING_SECONDS:
            yield waiting

    def _grid_after(self, seconds: float) -> float:
        """The first grid time at or after `seconds`."""
        if self._rate_hz is None:
            return seconds
        return max(0, math.ceil(seconds * self._rate_hz)) / self._rate_hz

    def _timed(self) -> Iterator[tuple[VideoFrame, float]]:
        """Decode from the span's start, each frame with its time; times only ever grow."""
        self._rewind()
        last_seconds = -math.inf
        for raw in _deinterlaced(self._decoded()):
            ticks = _ticks(raw, self._container.format.name)
            if ticks is None or self._origin is None:
                seconds = 0.0 if last_seconds < 0 else last_seconds + self._shown_for(raw)
            else:
                seconds = self._seconds(ticks - self._origin)
            if seconds <= last_seconds:
                continue
            if last_seconds >= 0:
                self._interval_seconds = seconds - last_seconds
            last_seconds = seconds
            self._read_until_seconds = seconds + self._shown_for(raw)
            yield raw, seconds

    def _rewind(self) -> None:
        """Seek to the key frame before the span's start, or to the clip's start."""
        start = self._origin or 0
        ticks = start + int(max(self._from_seconds, 0.0) / float(self._time_base))
        try:
            self._container.seek(ticks, stream=self._stream, backward=True)
        except av.FFmpegError:
            self._reopen()

    def _reopen(self) -> None:
        self._container.close()
        self._file.close()
        self._file = _open_file(self._uri)
        self._container = self._open_container()
        self._stream = self._choose_stream()

    def _decoded(self) -> Iterator[VideoFrame]:
        """Decode packet by packet, so that a damaged one costs itself and not the rest."""
        packets = self._container.demux(self._stream)
        damaged_in_a_row = 0
        while damaged_in_a_row < _DAMAGED_IN_A_ROW:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                return
            except (av.FFmpegError, OSError):
                self._damaged_packets += 1
                damaged_in_a_row += 1
                continue
            damaged_in_a_row = 0
            for frame in frames:
                if isinstance(frame, VideoFrame):
                    yield frame

    def _first_frame(self) -> VideoFrame:
        for frame in self._decoded():
            self._damaged_packets = 0
            return frame
        raise BadInput(f"{self._name}: no picture in it can be decoded; re-encode it or choose another file")

    def _open_container(self) -> "av.container.InputContainer":
        try:
            # A playlist would make FFmpeg open files and urls of its own choosing before its format is known here.
            container = av.open(self._file, mode="r", options={"protocol_whitelist": "none"})
        except (av.FFmpegError, ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BadInput(
                f"{self._name}: not a video FFmpeg can read ({reason}); "
                "if it is a cut-off recording, remux it from the camera or recorder"
            ) from error
        format_name = container.format.name
        if format_name in _NOT_CLIPS:
            container.close()
            raise BadInput(f"{self._name}: not a video but {format_name}; give the video file itself")
        if format_name.endswith("_pipe"):
            container.close()
            raise BadInput(f"{self._name}: a still picture, not a video; give a video, or enroll the picture")
        return container

    def _choose_stream(self) -> VideoStream:
        videos = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context is not None
        ]
        if not videos:
            raise BadInput(f"{self._name}: no video in it, only {self._other_streams()}; choose a file with pictures")
        stream: VideoStream = max(videos, key=lambda s: (s.width * s.height, -s.index))
        return stream

    def _other_streams(self) -> str:
        kinds = sorted({stream.type for stream in self._container.streams if stream.type != "video"})
        return " and ".join(kinds) or "attached pictures"

    def _describe(self, first: VideoFrame) -> Clip:
        quarters = round(first.rotation / 90) % 4
        width_px, height_px = (first.width, first.height) if quarters % 2 == 0 else (first.height, first.width)
        duration = None
        if self._stream.duration:
            duration = float(self._stream.duration * self._time_base)
        elif self._container.duration:
            duration = self._container.duration / av.time_base
        rate = self._stream.average_rate
        return Clip(
            width_px=width_px,
            height_px=height_px,
            duration_seconds=duration,
            rate_hz=float(rate) if rate else None,
            codec=self._stream.codec_context.codec.canonical_name,
            rotation=quarters,
        )

    def _to_rgb(self, raw: VideoFrame) -> Picture:
        """Convert to upright RGB at the working size; a stream that changes size keeps the first one's."""
        width_px, height_px = self.clip.width_px, self.clip.height_px
        if self._longest_side_px is not None and max(width_px, height_px) > self._longest_side_px:
            shrink = self._longest_side_px / max(width_px, height_px)
            width_px, height_px = max(1, round(width_px * shrink)), max(1, round(height_px * shrink))
        quarters = round(raw.rotation / 90) % 4
        if quarters % 2:
            width_px, height_px = height_px, width_px
        rgb = raw.to_ndarray(format="rgb24", width=width_px, height=height_px)
        return np.ascontiguousarray(np.rot90(rgb, quarters), np.uint8)

    @property
    def _time_base(self) -> Fraction:
        return self._stream.time_base or Fraction(1, av.time_base)

    def _seconds(self, ticks: int) -> float:
        return float(ticks * self._time_base)

    def _shown_for(self, raw: VideoFrame) -> float:
        """How long a frame is shown: as the file says, but no longer than the frame before it was."""
        told = [self._seconds(raw.duration)] if raw.duration else []
        seen = [self._interval_seconds] if self._interval_seconds else []
        if told or seen:
            return min(told + seen)
        return 1 / self.clip.rate_hz if self.clip.rate_hz else 0.0


def _open_file(uri: str | Path) -> IO[bytes]:
    try:
        opened: IO[bytes] = fsspec.open(str(uri), "rb").open()
    except (OSError, ValueError, ImportError) as error:
        raise BadInput(f"{uri}: cannot be opened ({error}); check the path or url") from error
    return opened


def _ticks(raw: VideoFrame, format_name: str) -> int | None:
    """When a frame is shown, in the stream's time base.

    AVI stores no presentation times and FFmpeg's guess steps back wherever B-frames were packed; frames come
    out of the decoder in order, so decoding times, which only grow, are the right spacing.
    """
    return raw.dts if format_name == "avi" and raw.dts is not None else raw.pts


def _deinterlaced(frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Pass frames on; from the first one flagged as interlaced, through a filter that mends those flagged.

    Source: bwdif (Bob Weaver Deinterlacing Filter), one picture a frame.
    """
    graph: Any = None
    for raw in frames:
        if graph is None and not raw.interlaced_frame:
            yield raw
            continue
        if graph is None:
            graph = _deinterlacing_graph(raw)
        graph.push(raw)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _deinterlacing_graph(first: VideoFrame) -> Graph:
    graph = Graph()
    source = graph.add_buffer(width=first.width, height=first.height, format=first.format, time_base=first.time_base)
    mended = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    graph.link_nodes(source, mended, graph.add("buffersink")).configure()
    return graph


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (av.BlockingIOError, av.EOFError):
            return
        if isinstance(frame, VideoFrame):
            yield frame
