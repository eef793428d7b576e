import pytest
import torch

from training.networks.compact import CompactNetwork


def draw_grey_chips(side_px, count=2):
    grey = torch.randint(0, 256, (count, 1, side_px, side_px), generator=torch.Generator().manual_seed(0)).float()
    return grey.expand(-1, 3, -1, -1)


@pytest.mark.parametrize("side_px", [75, 150])
@pytest.mark.parametrize("left_out", [(), (2, 6, 9, 12)])
def test_any_side_gives_an_embedding_and_every_parameter_learns(side_px, left_out):
    torch.manual_seed(0)
    network = CompactNetwork(left_out=left_out)
    embeddings = network(draw_grey_chips(side_px))
    assert embeddings.shape == (2, 128)
    embeddings.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []
