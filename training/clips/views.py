"""Views: which squares of a clip a network is shown, and how their strips become windows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import WindowSpec
from services.perception.crop import square_around
from services.perception.track import Track
from training.clips.reader import StripRequest

# Body lengths: wide enough for whom a person touches.
_SURROUNDINGS = 2.0


def request_strips(
    path: Path,
    spec: WindowSpec,
    tracks: Sequence[Track] = (),
    *,
    start_seconds: float = 0.0,
    end_seconds: float | None = None,
) -> list[StripRequest]:
    """What to decode of a clip for a network that views surroundings or the scene.

    Args:
        path: The clip.
        spec: From the network's card.
        tracks: Everyone followed; read only where the view is of surroundings.
        start_seconds: Of the part that counts.
        end_seconds: Of the part that counts; None is the clip's end.

    Returns:
        A strip for each track; the scene's where nobody is followed, or where the scene is the view.
    """
    squares: list[tuple[int, int, int] | None] = [None]
    if spec.view == "surroundings" and tracks:
        # The square stays put: one that followed the person would turn its own jitter into motion.
        squares = [square_around(np.median(track.boxes_px, axis=0), _SURROUNDINGS) for track in tracks]
    return [
        StripRequest(path, start_seconds, end_seconds, rate_hz=spec.rate_hz, size_px=spec.size_px, square_px=square)
        for square in squares
    ]


def cut_strip(strip: NDArray[np.uint8], spec: WindowSpec) -> NDArray[np.uint8]:
    """Windows (W, T, S, S, 3) of a strip: one every stride, the last ends with it; a short one holds its last picture.

    >>> cut_strip(np.zeros((3, 8, 8, 3), np.uint8), WindowSpec(
    ...     frames=4, rate_hz=10, stride_seconds=0.2, size_px=8, motion=False, view="scene")).shape
    (1, 4, 8, 8, 3)
    """
    stride = max(1, round(spec.stride_seconds * spec.rate_hz))
    last = max(len(strip) - spec.frames, 0)
    starts = [*range(0, last, stride), last]
    shown_WT = np.minimum(np.array(starts)[:, None] + np.arange(spec.frames), len(strip) - 1)
    windows: NDArray[np.uint8] = strip[shown_WT]
    return windows
