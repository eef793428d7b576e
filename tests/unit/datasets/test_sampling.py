import pytest
import torch

from training.datasets.sampling import draw_balanced, draw_by_rarest


def test_a_rare_action_is_seen_as_often_as_a_common_one():
    action = torch.tensor([0] * 2900 + [1] * 100)
    rows = draw_balanced(action, torch.Generator().manual_seed(0))
    assert len(rows) == 3000
    assert abs((action[rows] == 1).float().mean().item() - 0.5) < 0.04


def test_where_classes_overlap_a_row_is_drawn_for_its_rarest():
    is_done = torch.zeros(400, 3, dtype=torch.bool)
    is_done[:, 0] = True  # everybody stands
    is_done[:100, 1] = True
    is_done[:10, 2] = True
    drawn = torch.cat([draw_by_rarest(is_done, torch.Generator().manual_seed(seed)) for seed in range(20)])
    weights = torch.tensor([1 / 10] * 10 + [1 / 100] * 90 + [1 / 400] * 300)
    expected = weights / weights.sum()
    found = torch.bincount(drawn, minlength=400) / len(drawn)
    for rows in (slice(0, 10), slice(10, 100), slice(100, 400)):
        assert found[rows].sum().item() == pytest.approx(expected[rows].sum().item(), abs=0.03)
