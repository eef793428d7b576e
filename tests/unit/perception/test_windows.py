import numpy as np
import pytest

from services.contracts.card import WindowSpec
from services.perception.evidence import Strip
from services.perception.windows import cut_windows, measure_motion


def spec(frames: int = 8, rate_hz: float = 8, stride_seconds: float = 0.5) -> WindowSpec:
    return WindowSpec(frames=frames, rate_hz=rate_hz, stride_seconds=stride_seconds, size_px=32, motion=True)


def strip(pts_seconds: list[float], speed_px: float = 0.0, scale: float = 1.0) -> Strip:
    """A person 100 px high, moving right; picture i is grey of level i."""
    times = np.array(pts_seconds)
    x = 300 + speed_px * times
    boxes = np.stack([x - 20, np.full_like(x, 50), x + 20, np.full_like(x, 150)], axis=1) * scale
    pictures = [np.full((128, 128, 3), index % 256, np.uint8) for index in range(len(times))]
    return Strip("t1", times, boxes.astype(np.float32), boxes.astype(np.float32), pictures)


def test_windows_cover_the_track_and_show_the_newest_pictures() -> None:
    track = strip([k / 10 for k in range(31)])
    windows = list(cut_windows(track, spec()))
    assert [w.start_seconds for w in windows] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.125])
    assert windows[-1].end_seconds == pytest.approx(3.125)
    for window in windows:
        assert window.rgb.shape == (8, 32, 32, 3)
        for step, index in enumerate(window.picture_indexes):
            grid_seconds = window.start_seconds + step / 8
            assert index == int(grid_seconds * 10 + 1e-6)
            assert (window.rgb[step] == index).all()


def test_the_same_clip_at_ten_and_thirty_fps_gives_the_same_windows() -> None:
    slow = list(cut_windows(strip([k / 10 for k in range(30)], speed_px=40), spec(rate_hz=10)))
    fast = list(cut_windows(strip([k / 30 for k in range(88)], speed_px=40), spec(rate_hz=10)))
    assert [w.start_seconds for w in slow] == [w.start_seconds for w in fast]
    for a, b in zip(slow, fast, strict=True):
        np.testing.assert_allclose(a.motion, b.motion, atol=0.02)
        assert (b.picture_indexes == 3 * a.picture_indexes).all()


def test_a_short_gap_is_held_and_a_long_one_splits() -> None:
    held = list(cut_windows(strip([k / 10 for k in range(20) if k not in (5, 6, 7)]), spec(rate_hz=10)))
    assert held[0].picture_indexes.tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    pts_seconds = [k / 10 for k in range(12)] + [5 + k / 10 for k in range(12)]
    split = list(cut_windows(strip(pts_seconds), spec(rate_hz=10)))
    assert {w.start_seconds < 2 for w in split} == {True, False}
    assert all(w.end_seconds <= 1.2001 or w.start_seconds >= 5 for w in split)


@pytest.mark.parametrize(("pictures", "windows"), [(1, 0), (3, 0), (4, 1), (7, 1), (8, 1), (9, 2)])
def test_a_short_track_gives_one_window_or_none(pictures: int, windows: int) -> None:
    cut = list(cut_windows(strip([k / 10 for k in range(pictures)]), spec(rate_hz=10)))
    assert len(cut) == windows
    if pictures < 8 and windows:
        assert cut[0].picture_indexes.tolist() == [*range(pictures)] + [pictures - 1] * (8 - pictures)


def test_motion_is_free_of_scale_and_counted_in_body_lengths() -> None:
    times = np.arange(5, 20) / 10
    for scale in (1.0, 3.0):
        track = strip([k / 10 for k in range(30)], speed_px=50, scale=scale)
        motion = measure_motion(track.pts_seconds, track.boxes_px, times)
        np.testing.assert_allclose(motion[:, 0], 0.5, atol=1e-3)
        np.testing.assert_allclose(motion[:, 1:4], 0, atol=1e-3)
        np.testing.assert_allclose(motion[:, 4], np.log(0.4), atol=1e-3)


def test_a_fall_shows_in_motion() -> None:
    times = np.arange(21) / 10
    top = np.interp(times, [0.5, 1.0], [50, 120])
    half_width = np.interp(times, [0.5, 1.0], [20, 50])
    boxes = np.stack([300 - half_width, top, 300 + half_width, np.full_like(top, 150)], axis=1).astype(np.float32)
    motion = measure_motion(times, boxes, times)
    assert motion[7, 1] > 0.5, "the centre falls"
    assert abs(motion[7, 2]) < 0.05, "the feet stay"
    assert motion[7, 3] < -1, "the box gets lower"
    assert motion[0, 4] < 0 < motion[-1, 4], "upright, then wide"
