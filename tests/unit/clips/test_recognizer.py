import numpy as np
import pytest

from services.contracts.card import ActionCalibration, Lineage, ModelCard, Weights, WindowSpec
from services.contracts.errors import BadInput
from services.perception.track import Track
from training.clips.recognizer import ClipRecognizer
from training.clips.views import choose_squares, cut_strip


def spec(view="scene", frames=4):
    return WindowSpec(frames=frames, rate_hz=10, stride_seconds=0.3, size_px=64, motion=False, view=view)


def card(view):
    return ModelCard(
        name="clips",
        version="1",
        task="action",
        description="",
        weights=Weights(file="model.onnx", sha256="0" * 64, size_bytes=1, format="onnx"),
        licence="MIT",
        lineage=Lineage(source="test"),
        window=spec(view),
        classes=("dark", "bright"),
        action=ActionCalibration(temperature=2.0, minimum_probability=0.5, minimum_seconds=0),
    )


class Brightness:
    """Logits that say how bright each window is, and remembers the windows."""

    def __init__(self):
        self.seen = []

    def run(self, inputs):
        self.seen.append(inputs["rgb"])
        level = inputs["rgb"].astype(float)[:, :, 24:40, 24:40].mean((1, 2, 3, 4)) / 20
        return {"logits": np.stack([np.zeros_like(level), level], axis=1)}


def track(*boxes):
    count = len(boxes)
    times = np.arange(count) / 10
    boxes_px = np.array(boxes, np.float32)
    return Track("t1", times, boxes_px, np.ones(count, np.float32), np.ones(count, bool))


def test_windows_start_every_stride_and_the_last_ends_with_the_strip():
    strip = np.arange(11, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    assert cut_strip(strip, spec())[:, :, 0, 0, 0].tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [7, 8, 9, 10]]
    assert cut_strip(strip[:2], spec())[:, :, 0, 0, 0].tolist() == [[0, 1, 1, 1]]
    assert cut_strip(strip[:4], spec())[:, :, 0, 0, 0].tolist() == [[0, 1, 2, 3]]


def test_surroundings_are_still_squares_around_each_track():
    *_, (left, top, side) = choose_squares(
        64, 48, [track((10, 10, 20, 40), (12, 10, 22, 40), (90, 10, 99, 40)).boxes_px]
    )
    assert side == 60
    assert (left + side / 2, top + side / 2) == (17, 25)


@pytest.mark.parametrize(
    ("size", "squares"),
    [
        ((640, 360), [(0, 0, 360), (280, 0, 360)]),
        ((360, 640), [(0, 0, 360), (0, 280, 360)]),
        ((400, 400), [(0, 0, 400)]),
        ((420, 400), [(10, 0, 400)]),
        ((1000, 400), [(0, 0, 400), (300, 0, 400), (600, 0, 400)]),
    ],
)
def test_squares_cover_the_picture(size, squares):
    assert choose_squares(*size) == squares


def test_a_clip_is_rated_by_the_mean_of_its_windows(write_clip, tmp_path):
    network = Brightness()
    probabilities = ClipRecognizer(card("scene"), network, None).rate(write_clip(seconds=1.0), str(tmp_path))
    windows = np.concatenate(network.seen)
    # A picture of 96 by 64 needs two squares.
    assert windows.shape == (6, 4, 64, 64, 3)
    # Grey levels are 20, 30, ... 110; windows begin at pictures 0, 3 and 6.
    mean = np.mean([35, 65, 95]) / 20 / 2.0
    assert probabilities[1] == pytest.approx(1 / (1 + np.exp(-mean)), abs=0.02)
    assert probabilities.sum() == pytest.approx(1)


def test_surroundings_need_somebody_who_finds_people(write_clip, tmp_path):
    with pytest.raises(BadInput, match="detectors"):
        ClipRecognizer(card("surroundings"), Brightness(), None).rate(write_clip(), str(tmp_path))


def test_a_clip_of_minutes_is_read_piece_by_piece(write_clip, monkeypatch):
    network = Brightness()
    path = write_clip(seconds=2.3)
    whole = ClipRecognizer(card("scene"), network, None).rate(path, "")
    monkeypatch.setattr("training.clips.recognizer._PIECE_SECONDS", 1.0)
    pieces = Brightness()
    rated = ClipRecognizer(card("scene"), pieces, None).rate(path, "")
    assert rated == pytest.approx(whole, abs=0.1)
    assert max(len(windows) for windows in pieces.seen) == 1


@pytest.mark.parametrize(("width_px", "height_px", "seconds"), [(16, 16, 0.1), (320, 16, 0.3), (18, 240, 1.0)])
def test_clips_of_any_size_and_length_are_answered(write_clip, width_px, height_px, seconds):
    path = write_clip(seconds=seconds, width_px=width_px, height_px=height_px)
    rated = ClipRecognizer(card("scene"), Brightness(), None).rate(path, "")
    assert rated.sum() == pytest.approx(1)
