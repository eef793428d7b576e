"""Appearance: what colours a person wears, as a cue against mistaking one for another."""

import numpy as np
from numpy.typing import NDArray

from services.perception.frame import Picture

_COLOUR_BINS = 8
_BRIGHTNESS_BINS = 8
# Shares of red and of blue in a colour: clothes lie in this range, and differ by little of it.
_LEAST_SHARE, _SHARE_RANGE = 0.1, 0.5
# Added to each channel, so that the colour of what is nearly black, which is noise, turns to grey.
_DARKNESS = 12.0
# The torso: below the head, above the legs, without the background at the sides.
_TOP_SHARE, _BOTTOM_SHARE, _SIDE_SHARE = 0.2, 0.5, 0.3
_ROWS, _COLUMNS = 24, 12
# Boxes wider than this share of their height are of people who lie or are falling.
_UPRIGHT = 0.8


def describe_torso(picture: Picture, box_px: NDArray[np.floating]) -> NDArray[np.float32] | None:
    """Histograms of colour (red and blue jointly, whatever the light) and of brightness of a person's torso.

    Args:
        picture: RGB, uint8, (H, W, 3).
        box_px: (4,), of the person.

    Returns:
        float32, (72,), sums to 1; None where the torso is out of the picture, or the person lies: it is elsewhere then.
    """
    left, top, right, bottom = (float(edge) for edge in box_px)
    width, height = right - left, bottom - top
    if width > _UPRIGHT * height:
        return None
    rows = np.linspace(top + _TOP_SHARE * height, top + _BOTTOM_SHARE * height, _ROWS).astype(int)
    columns = np.linspace(left + _SIDE_SHARE * width, right - _SIDE_SHARE * width, _COLUMNS).astype(int)
    rows = rows[(rows >= 0) & (rows < picture.shape[0])]
    columns = columns[(columns >= 0) & (columns < picture.shape[1])]
    if len(rows) < _ROWS // 3 or len(columns) < _COLUMNS // 3:
        return None
    rgb = picture[rows[:, None], columns].reshape(-1, 3).astype(np.float32) + _DARKNESS
    shares = (rgb / rgb.sum(1, keepdims=True) - _LEAST_SHARE) / _SHARE_RANGE
    red, blue = _soft_bins(shares[:, 0], _COLOUR_BINS), _soft_bins(shares[:, 2], _COLOUR_BINS)
    colour = (red.T @ blue).ravel()
    brightness = _soft_bins(rgb.mean(1) / 255, _BRIGHTNESS_BINS).sum(0)
    # Colour counts three times as much: brightness changes with every lamp one passes.
    histogram = np.concatenate([0.75 * colour, 0.25 * brightness]) / len(rgb)
    return histogram.astype(np.float32)


def likeness(one: NDArray[np.float32] | None, other: NDArray[np.float32] | None) -> float:
    """Bhattacharyya coefficient of two histograms, 0 to 1; one half where either is unknown."""
    if one is None or other is None:
        return 0.5
    return float(np.sqrt(one * other).sum())


def _soft_bins(values: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """(N, bins): each value shared out between the two nearest bins, so that a slight change changes little."""
    places = np.clip(values, 0, 1) * np.float32(bins - 1)
    shares: NDArray[np.float32] = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(bins, dtype=np.float32)))
    return shares
