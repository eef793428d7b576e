"""Appearance: what colours a person wears, as a cue against mistaking one for another."""

import numpy as np
from numpy.typing import NDArray

from services.perception.frame import Picture

_BINS = 6
# The torso: below the head, above the legs, without the background at the sides.
_TOP_SHARE, _BOTTOM_SHARE, _SIDE_SHARE = 0.18, 0.55, 0.22
_ROWS, _COLUMNS = 24, 12


def describe_torso(picture: Picture, box_px: NDArray[np.floating]) -> NDArray[np.float32] | None:
    """Histograms of brightness and of both chromaticities of a person's torso.

    Args:
        picture: RGB, uint8, (H, W, 3).
        box_px: (4,), of the person.

    Returns:
        float32, (18,), sums to 1; None where the torso is out of the picture.
    """
    left, top, right, bottom = (float(edge) for edge in box_px)
    width, height = right - left, bottom - top
    rows = np.linspace(top + _TOP_SHARE * height, top + _BOTTOM_SHARE * height, _ROWS).astype(int)
    columns = np.linspace(left + _SIDE_SHARE * width, right - _SIDE_SHARE * width, _COLUMNS).astype(int)
    rows = rows[(rows >= 0) & (rows < picture.shape[0])]
    columns = columns[(columns >= 0) & (columns < picture.shape[1])]
    if len(rows) < _ROWS // 3 or len(columns) < _COLUMNS // 3:
        return None
    rgb = picture[rows[:, None], columns].reshape(-1, 3).astype(np.float32)
    brightness = rgb.mean(1)
    # Chromaticity of near-black is noise: the floor pulls it to grey.
    red = rgb[:, 0] / (3 * brightness + 60) * 2
    blue = rgb[:, 2] / (3 * brightness + 60) * 2
    parts = [_soft_histogram(brightness / 255), _soft_histogram(red), _soft_histogram(blue)]
    histogram: NDArray[np.float32] = np.concatenate(parts) / np.float32(3)
    return histogram


def likeness(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None) -> float:
    """Bhattacharyya coefficient of two histograms, 0 to 1; one half where either is unknown."""
    if one is None or other is None:
        return 0.5
    return float(np.sqrt(one * other).sum())


def _soft_histogram(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shared out between the two nearest bins, so that a slight change of light changes it slightly."""
    places = np.clip(values, 0, 1) * (_BINS - 1)
    lower = np.minimum(places.astype(int), _BINS - 2)
    upper_share = places - lower
    counts = np.bincount(lower, 1 - upper_share, _BINS) + np.bincount(lower + 1, upper_share, _BINS)
    return (counts / len(values)).astype(np.float32)
