import numpy as np
import torch

from services.contracts.card import WindowSpec
from training.clips.eight_bits import export_eight_bits, export_float, load_answer
from training.clips.video import ask
from training.config import ResidualParams
from training.lessons.video import StripSet
from training.networks.video import make_video_network

WINDOW = WindowSpec(frames=4, rate_hz=4, stride_seconds=0.5, size_px=32, motion=False, view="scene")


def test_engines_answer_for_a_3d_network_exactly_or_in_eight_bits_nearly_and_in_a_quarter_of_the_room():
    torch.manual_seed(0)
    network = make_video_network("mc3_18", ResidualParams(changes=True, dropout=0.0), classes=3, size_px=32)
    network.trunk.stem[1].running_var.uniform_(0.5, 2)
    rng = np.random.default_rng(0)
    met = StripSet(list(rng.integers(0, 256, (4, 8, 32, 32, 3)).astype(np.uint8)), np.zeros(4, np.int64), 2)
    windows = np.stack([strip[::2] for strip in met.pictures])
    expected = ask(network)(windows)
    spread = expected.std(axis=0).max()
    whole, eight = export_float(network, met, WINDOW), export_eight_bits(network, met, WINDOW)
    assert len(eight) < 0.27 * len(whole)
    for device in ("cpu", "onnxruntime-cpu"):
        assert np.abs(load_answer(whole, WINDOW, device=device)(windows) - expected).max() < 1e-4
        assert 0 < np.abs(load_answer(eight, WINDOW, device=device)(windows) - expected).max() < spread
