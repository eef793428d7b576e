from pathlib import Path

import numpy as np
import pytest

from services.perception.decode import decode
from services.perception.encode import repeat_mp4, write_mp4
from services.perception.frame import Frame


def frames(pts_seconds: list[float], width_px: int = 63, height_px: int = 41) -> list[Frame]:
    y, x = np.mgrid[:height_px, :width_px]
    base = np.stack([3 * x, 5 * y, 2 * x + y], axis=-1)
    return [Frame(np.clip(base + 4 * index, 0, 255).astype(np.uint8), pts) for index, pts in enumerate(pts_seconds)]


def test_times_and_pictures_survive(tmp_path: Path) -> None:
    written = frames([0.0, 0.04, 0.1, 0.5])
    write_mp4(written, tmp_path / "out.mp4", quality_crf=10)
    read = list(decode(tmp_path / "out.mp4"))
    assert [frame.pts_seconds for frame in read] == pytest.approx([0.0, 0.04, 0.1, 0.5], abs=1e-4)
    assert read[0].rgb.shape == (42, 64, 3)
    for before, after in zip(written, read, strict=True):
        assert np.abs(before.rgb.astype(int) - after.rgb[:41, :63]).mean() < 4


def test_the_same_frames_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_mp4(frames([k / 10 for k in range(20)]), tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


@pytest.mark.parametrize("pts_seconds", [[], [0.1, 0.1], [0.2, 0.1]])
def test_a_clip_that_cannot_be_leaves_nothing(tmp_path: Path, pts_seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="frame"):
        write_mp4(frames(pts_seconds), tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_repeated_clip_is_its_pictures_again(tmp_path: Path) -> None:
    once, thrice = tmp_path / "once.mp4", tmp_path / "thrice.mp4"
    write_mp4(frames([k / 25 for k in range(30)]), once)
    repeat_mp4(once, thrice, 3)
    shown, repeated = list(decode(once)), list(decode(thrice))
    assert [frame.pts_seconds for frame in repeated] == pytest.approx([k / 25 for k in range(90)], abs=0.01)
    for index, frame in enumerate(repeated):
        assert (frame.rgb == shown[index % 30].rgb).all()


def test_a_clip_shown_no_times_leaves_nothing(tmp_path: Path) -> None:
    write_mp4(frames([0.0, 0.1]), tmp_path / "once.mp4")
    with pytest.raises(ValueError, match="0 times"):
        repeat_mp4(tmp_path / "once.mp4", tmp_path / "none.mp4", 0)
    assert [path.name for path in tmp_path.iterdir()] == ["once.mp4"]
