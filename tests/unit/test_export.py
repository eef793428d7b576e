import numpy as np
import onnx
import pytest
import torch

from services.contracts.card import ActionCalibration, Lineage, ModelCard, WindowSpec
from services.models.engine import load_network
from training.config import RecurrentParams
from training.export import (
    EnginesDisagree,
    check_parity,
    describe_weights,
    export_onnx,
    export_pixels,
    spell_out_group_norms,
)
from training.networks.action import CnnLstm
from training.networks.video import make_video_network

WINDOW = WindowSpec(frames=4, rate_hz=10, stride_seconds=0.2, size_px=16, motion=True)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    made = CnnLstm(classes=3, size_px=16, channels=(8, 16), lstm_units=8, dropout=0.3)
    with torch.no_grad():
        for module in made.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                # As if it had learned: fresh statistics, scales and shifts change nothing.
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
                module.weight.uniform_(0.5, 2)
                module.bias.normal_()
    return made.eval()


@pytest.fixture(scope="module")
def content(network):
    return export_onnx(network, WINDOW, 5)


@pytest.mark.parametrize("device", ["cpu", "onnxruntime-cpu"])
@pytest.mark.parametrize("windows", [1, 2, 7])
def test_engines_answer_as_the_trained_network_for_any_number_of_windows(network, content, tmp_path, device, windows):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    card = ModelCard(
        name="tiny",
        version="1",
        task="action",
        description="",
        weights=describe_weights(content),
        licence="Apache-2.0",
        lineage=Lineage(source="a test"),
        window=WINDOW,
        classes=("stand", "walk", "run"),
        action=ActionCalibration(temperature=1, minimum_probability=0.5, minimum_seconds=0),
    )
    rgb = torch.randint(0, 255, (windows, 4, 16, 16, 3), dtype=torch.uint8)
    motion = torch.randn(windows, 4, 5)
    with torch.inference_mode():
        expected = network(rgb, motion).numpy()
    answers = load_network(card, path, device=device, threads=1).run({"rgb": rgb.numpy(), "motion": motion.numpy()})
    assert check_parity(expected, [(device, answers["logits"])], 1e-4)[device] >= 0


def test_the_same_weights_give_the_same_bytes(network, content):
    assert export_onnx(network, WINDOW, 5) == content


def test_the_file_tells_nothing_of_the_machine_that_made_it(content):
    assert b"/site-packages/" not in content
    assert all(not node.metadata_props for node in onnx.load_from_string(content).graph.node)


@pytest.mark.parametrize("wrong", [0.02, np.nan])
def test_an_engine_that_differs_is_refused_by_name(wrong):
    expected = np.zeros((2, 3), np.float32)
    with pytest.raises(EnginesDisagree, match="fast differs"):
        check_parity(expected, [("fast", expected + np.float32(wrong))], 0.01)


def test_group_norms_are_spelt_out_alike_and_without_a_reshape():
    norm = torch.nn.GroupNorm(3, 12)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    spelt = spell_out_group_norms(torch.nn.Sequential(norm))
    # Far from zero, as after a convolution of bright pictures; a picture of one colour has no variance.
    x_NCHW = torch.cat([torch.randn(2, 12, 5, 7) + 3, torch.full((1, 12, 5, 7), 2.5)])
    torch.testing.assert_close(spelt(x_NCHW), norm(x_NCHW), rtol=1e-3, atol=1e-3)
    plain = torch.nn.Conv2d(3, 4, 3)
    assert spell_out_group_norms(plain) is plain


def operations(content):
    return {node.op_type for node in onnx.load_from_string(content).graph.node}


def test_no_engine_has_to_reorder_what_a_group_norm_reshapes():
    params = RecurrentParams(channels=(8, 16), units=8, bidirectional=True, reading="attention", dropout=0.3)
    network = make_video_network("cnn_lstm", params, classes=3, size_px=16)
    assert any(isinstance(module, torch.nn.GroupNorm) for module in network.modules())
    assert "InstanceNormalization" not in operations(export_pixels(network, WINDOW))


def test_what_a_batch_norm_learned_is_part_of_the_convolutions(network, content):
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert "Conv" in operations(content)
    assert "BatchNormalization" not in operations(content)
