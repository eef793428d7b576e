import torch

from training.datasets.sampling import draw_balanced


def test_a_rare_action_is_seen_as_often_as_a_common_one():
    action = torch.tensor([0] * 2900 + [1] * 100)
    rows = draw_balanced(action, torch.Generator().manual_seed(0))
    assert len(rows) == 3000
    assert abs((action[rows] == 1).float().mean().item() - 0.5) < 0.04
