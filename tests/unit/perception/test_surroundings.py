import numpy as np
import pytest
from scipy import ndimage

from services.contracts.card import WindowSpec
from services.perception.crop import cut_square, square_around
from services.perception.evidence import Strip
from services.perception.surroundings import cut_surroundings, square_of_surroundings

SPEC = WindowSpec(frames=8, rate_hz=10, stride_seconds=0.4, size_px=128, motion=False, view="surroundings")


@pytest.fixture
def scene():
    """A textured yard of 320×240 pixels; nothing in it moves."""
    noise = ndimage.gaussian_filter(np.random.default_rng(2).random((240, 320)), 3)
    grey = 255 * (noise - noise.min()) / (noise.max() - noise.min())
    return grey[:, :, None].repeat(3, axis=2).astype(np.uint8)


def follow(scene, shifts):
    """A strip that follows a box 40 px wide and 80 px high, its middle at (160 + shift, 120)."""
    boxes = np.array([(140 + shift, 80, 180 + shift, 160) for shift in shifts], np.float32)
    squares = [square_around(box, 1.25) for box in boxes]
    crops = np.array([(left, top, left + side, top + side) for left, top, side in squares], np.float32)
    pictures = [cut_square(scene, square, 128) for square in squares]
    return Strip("t1", np.arange(len(boxes)) / 10, boxes, crops, pictures)


def test_a_still_scene_stays_still_however_the_box_jumps(scene):
    (window,) = cut_surroundings(follow(scene, [0, 9, -8, 5, 12, -3, 7, 1]), SPEC)
    assert window.rgb.shape == (8, 128, 128, 3)
    change = np.abs(np.diff(window.rgb.astype(int), axis=0))
    # What is scaled twice differs by grey levels at most; a box that jumps 9 px would change a crop by ten times that.
    assert change.mean() < 1.5
    followed = np.abs(np.diff(np.stack(follow(scene, [0, 9, -8, 5, 12, -3, 7, 1]).pictures).astype(int), axis=0))
    assert followed.mean() > 5 * change.mean()


def test_the_scene_is_where_it_would_be_cut_from_the_clip(scene):
    strip = follow(scene, [0, 2, 4, 6, 8, 10, 12, 14])
    (window,) = cut_surroundings(strip, SPEC)
    expected = cut_square(scene, square_of_surroundings(strip.boxes_px), 128)
    painted = window.rgb[-1].any(axis=2)
    assert 0.35 < painted.mean() < 0.6
    assert np.abs(window.rgb[-1].astype(int) - expected)[painted].mean() < 6


def test_windows_are_where_the_rule_puts_them_and_crops_outside_are_left_out(scene):
    strip = follow(scene, [*range(0, 300, 20)])
    windows = list(cut_surroundings(strip, SPEC))
    assert [window.start_seconds for window in windows] == pytest.approx([0.0, 0.4, 0.7])
    assert all(window.rgb.shape == (8, 128, 128, 3) for window in windows)
