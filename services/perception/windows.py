"""Windows: what an action network sees of a track. Training and serving cut them here, and only here.

THE rule (see WindowSpec). Grid times are k / rate_hz on the clip's own clock. At each, a track shows its newest
picture, held over gaps of up to `HOLD_SECONDS`; a longer gap splits the track into runs. In every run windows
start at its first grid time and then every stride; the last one ends with the run. A run shorter than a window
but of at least half of one gives a single window that holds its last picture; a shorter run gives none.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import WindowSpec
from services.perception.crop import resize
from services.perception.detection import Boxes
from services.perception.evidence import Strip
from services.perception.frame import Picture

HOLD_SECONDS = 0.5
MOTION_CHANNELS = 5
# Speeds are taken over this much time: long enough that a detector's jitter is small beside a step.
_SPEED_SPAN_SECONDS = 0.4
# Bodies do not move faster; what does is a box that jumped.
_FASTEST = 5.0
_TIME_ROUNDING_SECONDS = 0.001


@dataclass(frozen=True, slots=True, eq=False)
class ClipWindow:
    """T pictures of one track, evenly spaced in time.

    Attributes:
        track_id: Whose.
        start_seconds: Of the first picture, on the clip's clock.
        end_seconds: Of the last picture's share of time; not included.
        picture_indexes: int64, (T,): which picture of the strip each one is.
        rgb: uint8, (T, S, S, 3).
        motion: float32, (T, 5); see `measure_motion`.
    """

    track_id: str
    start_seconds: float
    end_seconds: float
    picture_indexes: NDArray[np.int64]
    rgb: NDArray[np.uint8]
    motion: NDArray[np.float32]

    def __post_init__(self) -> None:
        t = len(self.picture_indexes)
        if self.rgb.shape[:1] != (t,) or self.rgb.ndim != 4 or self.motion.shape != (t, MOTION_CHANNELS):
            raise ValueError(f"window of {t} pictures, rgb {self.rgb.shape}, motion {self.motion.shape}")
        if self.end_seconds <= self.start_seconds:
            raise ValueError(f"window from {self.start_seconds} s to {self.end_seconds} s: must end after it starts")


@dataclass(frozen=True, slots=True, eq=False)
class WindowPlace:
    """Where one window lies on a track.

    Attributes:
        start_seconds: Of the first picture.
        end_seconds: Of the last picture's share of time; not included.
        picture_indexes: int64, (T,): the picture shown at each grid time; the last is held in a short window.
        times_seconds: float64: the grid times there are, at most T.
    """

    start_seconds: float
    end_seconds: float
    picture_indexes: NDArray[np.int64]
    times_seconds: NDArray[np.float64]


def cut_windows(strip: Strip, spec: WindowSpec) -> Iterator[ClipWindow]:
    """Cut a track into windows by the rule above, in order of time.

    Args:
        strip: The track's body crops.
        spec: From the network's card.

    Yields:
        Windows of exactly `spec.frames` pictures.
    """
    resized = _Resized(strip, spec.size_px)
    for place in place_windows(strip.pts_seconds, spec):
        motion = measure_motion(strip.pts_seconds, strip.boxes_px, place.times_seconds)
        yield ClipWindow(
            track_id=strip.track_id,
            start_seconds=place.start_seconds,
            end_seconds=place.end_seconds,
            picture_indexes=place.picture_indexes,
            rgb=np.stack([resized[int(index)] for index in place.picture_indexes]),
            motion=np.pad(motion, ((0, spec.frames - len(motion)), (0, 0)), mode="edge"),
        )


def place_windows(pts_seconds: NDArray[np.float64], spec: WindowSpec) -> Iterator[WindowPlace]:
    """Where the rule puts a track's windows, in order of time."""
    for indexes, grid in _runs(pts_seconds, spec.rate_hz):
        for first in _starts(len(indexes), spec):
            shown = indexes[first : first + spec.frames]
            times_seconds = grid[first : first + spec.frames] / spec.rate_hz
            yield WindowPlace(
                start_seconds=float(times_seconds[0]),
                end_seconds=float(times_seconds[-1]) + 1 / spec.rate_hz,
                picture_indexes=np.pad(shown, (0, spec.frames - len(shown)), mode="edge"),
                times_seconds=times_seconds,
            )


def measure_motion(
    pts_seconds: NDArray[np.float64], boxes_px: Boxes, times_seconds: NDArray[np.float64]
) -> NDArray[np.float32]:
    """How a box moves, free of scale and of frame rate.

    Lengths are in body lengths: the median over `times_seconds` of the box's longer side, which is the body's
    whether it stands or lies. Speeds are differences over 0.4 s around each time.

    Args:
        pts_seconds: (N,), of the boxes.
        boxes_px: (N, 4).
        times_seconds: (T,), when to measure.

    Returns:
        float32, (T, 5): speed of the box's centre to the right; down; of its lower edge down (body lengths a
        second); growth of the logarithm of its height a second; logarithm of width over height. Each within ±5.
    """
    centre_x = (boxes_px[:, 0] + boxes_px[:, 2]) / 2
    centre_y = (boxes_px[:, 1] + boxes_px[:, 3]) / 2
    width = np.maximum(boxes_px[:, 2] - boxes_px[:, 0], 1)
    height = np.maximum(boxes_px[:, 3] - boxes_px[:, 1], 1)

    def at(values: NDArray[np.floating], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        interpolated: NDArray[np.float64] = np.interp(seconds, pts_seconds, values)
        return interpolated

    before = np.maximum(times_seconds - _SPEED_SPAN_SECONDS / 2, pts_seconds[0])
    after = np.minimum(times_seconds + _SPEED_SPAN_SECONDS / 2, pts_seconds[-1])
    span = np.maximum(after - before, _SPEED_SPAN_SECONDS / 2)
    body = max(float(np.median(np.maximum(at(width, times_seconds), at(height, times_seconds)))), 1.0)

    def speed(values: NDArray[np.floating]) -> NDArray[np.float64]:
        change: NDArray[np.float64] = (at(values, after) - at(values, before)) / span
        return change

    channels = [
        speed(centre_x) / body,
        speed(centre_y) / body,
        speed(boxes_px[:, 3]) / body,
        speed(np.log(height)),
        np.log(at(width, times_seconds) / at(height, times_seconds)),
    ]
    motion_TM: NDArray[np.float32] = np.clip(np.stack(channels, axis=1), -_FASTEST, _FASTEST).astype(np.float32)
    return motion_TM


def _runs(pts_seconds: NDArray[np.float64], rate_hz: float) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Runs without a long gap: the picture shown at each grid time, and the grid times' numbers k."""
    long_gaps = np.flatnonzero(np.diff(pts_seconds) > HOLD_SECONDS)
    for run in np.split(np.arange(len(pts_seconds)), long_gaps + 1):
        times_seconds = pts_seconds[run]
        first = int(np.ceil((times_seconds[0] - _TIME_ROUNDING_SECONDS) * rate_hz))
        last = int(np.floor((times_seconds[-1] + _TIME_ROUNDING_SECONDS) * rate_hz))
        grid = np.arange(first, last + 1, dtype=np.int64)
        if len(grid):
            shown = np.searchsorted(times_seconds, grid / rate_hz + _TIME_ROUNDING_SECONDS, side="right") - 1
            yield run[shown].astype(np.int64), grid


def _starts(length: int, spec: WindowSpec) -> list[int]:
    if length < spec.frames:
        return [0] if 2 * length >= spec.frames else []
    stride = max(1, round(spec.stride_seconds * spec.rate_hz))
    last = length - spec.frames
    starts = list(range(0, last + 1, stride))
    return starts if starts[-1] == last else [*starts, last]


class _Resized:
    """Pictures of a strip at the network's size; neighbouring windows share theirs."""

    def __init__(self, strip: Strip, size_px: int) -> None:
        self._strip = strip
        self._size_px = size_px
        self._kept: dict[int, Picture] = {}

    def __getitem__(self, index: int) -> Picture:
        if index not in self._kept:
            if len(self._kept) >= 256:
                self._kept.pop(next(iter(self._kept)))
            self._kept[index] = resize(self._strip.pictures[index], self._size_px, self._size_px)
        return self._kept[index]
