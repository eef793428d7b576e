import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from services.models.store import ModelStore
from training.export import export_embedder
from training.networks.compact import CompactNetwork


def draw_grey_chips(side_px, count=2):
    grey = torch.randint(0, 256, (count, 1, side_px, side_px), generator=torch.Generator().manual_seed(0)).float()
    return grey.expand(-1, 3, -1, -1)


@pytest.fixture(scope="module")
def teacher(request):
    models = request.getfixturevalue("models")
    return ModelStore(models).find("dlib-face-resnet")


@pytest.mark.parametrize("side_px", [75, 92, 150])
def test_any_side_gives_an_embedding_and_every_parameter_learns(side_px):
    torch.manual_seed(0)
    network = CompactNetwork()
    embeddings = network(draw_grey_chips(side_px))
    assert embeddings.shape == (2, 128)
    embeddings.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_overfits_one_batch():
    torch.manual_seed(0)
    network = CompactNetwork()
    # One dark, one bright: of noise alike in all it averages, fourteen blocks see the same for a hundred steps.
    chips, wanted = draw_grey_chips(75) * torch.tensor([0.2, 1.0])[:, None, None, None], torch.randn(2, 128)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    for _ in range(100):
        loss = nn.functional.mse_loss(network(chips), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss.item() < 0.05:
            break
    assert loss.item() < 0.05


def test_a_colour_picture_is_seen_as_its_luminance():
    torch.manual_seed(0)
    network = CompactNetwork().eval()
    colour = torch.rand(1, 3, 75, 75, generator=torch.Generator().manual_seed(1)) * 255
    grey = (colour * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(network(colour), network(grey), atol=1e-4, rtol=1e-4)


def test_begins_as_dlib_s_network_on_grey_chips(teacher):
    converted = onnx.load(teacher.weights_path)
    network = CompactNetwork().eval()
    network.begin_as(converted, torch.arange(128.0))
    chips = draw_grey_chips(150, 1)
    # Up to the tenth block: beyond it dlib leaves the last line of even maps zero, where this network computes it.
    converted.graph.output.append(onnx.helper.make_empty_tensor_value_info("block10"))
    (theirs,) = ReferenceEvaluator(converted).run(["block10"], {"chips": chips.contiguous().numpy()})
    x = network.stem((chips[:, :1] - 117) / 256).relu()
    x = nn.functional.max_pool2d(x, 3, stride=2)
    with torch.no_grad():
        for block in network.blocks[:10]:
            x = block(x)
    np.testing.assert_allclose(x.detach().numpy(), theirs, atol=1e-4)
    arrays = [numpy_helper.to_array(each) for each in converted.graph.initializer]
    last = [array for array in arrays if array.ndim == 4][-1]
    np.testing.assert_array_equal(network.blocks[-1].second.weight.detach().numpy(), last)
    np.testing.assert_array_equal(network.project.weight.detach().numpy().T, arrays[-1])
    assert network.project.bias.tolist() == [-float(index) for index in range(128)]


def test_is_exported_for_any_number_of_chips():
    torch.manual_seed(0)
    content = export_embedder(CompactNetwork(), 75)
    (chips,) = onnx.load_from_string(content).graph.input
    assert chips.type.tensor_type.shape.dim[0].dim_param
    assert [dim.dim_value for dim in chips.type.tensor_type.shape.dim][1:] == [3, 75, 75]
