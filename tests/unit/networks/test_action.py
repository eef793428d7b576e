import pytest
import torch
from torch import nn

from training.networks.action import CnnLstm


@pytest.fixture
def network():
    torch.manual_seed(0)
    return CnnLstm(classes=3, size_px=16, channels=(8, 16), lstm_units=12, dropout=0.0)


def test_overfits_one_batch(network):
    rgb = torch.randint(0, 255, (6, 4, 16, 16, 3), dtype=torch.uint8)
    motion, action = torch.randn(6, 4, 5), torch.tensor([0, 1, 2, 0, 1, 2])
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    for _ in range(80):
        loss = nn.functional.cross_entropy(network(rgb, motion), action)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


def test_a_window_is_answered_alike_alone_and_in_a_batch(network):
    rgb = torch.randint(0, 255, (5, 4, 16, 16, 3), dtype=torch.uint8)
    motion = torch.randn(5, 4, 5)
    network.eval()
    together = network(rgb, motion)
    alone = torch.cat([network(rgb[i : i + 1], motion[i : i + 1]) for i in range(5)])
    assert together.shape == (5, 3)
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("reads", ["pictures", "motion"])
def test_reads_both_pictures_and_motion(network, reads):
    rgb = torch.full((1, 4, 16, 16, 3), 90, dtype=torch.uint8)
    motion = torch.zeros(1, 4, 5)
    network.eval()
    before = network(rgb, motion)
    after = network(rgb + 80, motion) if reads == "pictures" else network(rgb, motion + 1)
    assert not torch.allclose(before, after)


def test_sees_what_changes_beside_what_is_there(network):
    with torch.no_grad():
        network.pictures.stages[0].weight[:, :3] = 0  # deaf to pictures, it hears changes alone
    motion = torch.zeros(2, 4, 5)
    network.eval()
    still = torch.stack([torch.full((4, 16, 16, 3), grey, dtype=torch.uint8) for grey in (20, 200)])
    blinking = still.clone()
    blinking[1, 2] = 0
    torch.testing.assert_close(network(still, motion)[0], network(still, motion)[1])
    assert not torch.allclose(network(blinking, motion)[0], network(blinking, motion)[1])
