import math

import pytest
import torch

from training.objectives.classification import (
    binary_focal_loss,
    binary_imitation_loss,
    focal_loss,
    imitation_loss,
    smooth_targets,
    smooth_truths,
)

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 3.0]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0], [0.3, 0.0, 0.7]])


def probabilities(logits, temperature=1.0):
    powers = [math.exp(value / temperature) for value in logits]
    return [power / sum(powers) for power in powers]


@pytest.mark.parametrize("focus", [0.0, 2.0])
def test_focal_loss_by_slow_loops(focus):
    slow = 0.0
    for logits, targets in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        for p, target in zip(probabilities(logits), targets, strict=True):
            slow -= target * (1 - p) ** focus * math.log(p) / 2
    assert focal_loss(LOGITS, TARGETS, focus).item() == pytest.approx(slow, rel=1e-5)


def test_focal_loss_without_focus_is_cross_entropy():
    expected = torch.nn.functional.cross_entropy(LOGITS, TARGETS).item()
    assert focal_loss(LOGITS, TARGETS, 0.0).item() == pytest.approx(expected)


def test_distillation_by_slow_loops_is_zero_for_the_teacher_itself():
    teacher = torch.flip(LOGITS, [1])
    slow = 0.0
    for own, taught in zip(LOGITS.tolist(), teacher.tolist(), strict=True):
        for p, q in zip(probabilities(own, 3.0), probabilities(taught, 3.0), strict=True):
            slow += q * math.log(q / p) * 9 / 2
    assert imitation_loss(LOGITS, teacher, 3.0).item() == pytest.approx(slow, rel=1e-5)
    assert imitation_loss(LOGITS, LOGITS, 3.0).item() == pytest.approx(0, abs=1e-6)


def test_smoothed_targets_are_those_of_torch_s_own_cross_entropy():
    truth = torch.tensor([0, 2])
    own = focal_loss(LOGITS, smooth_targets(torch.eye(3)[truth], 0.2), 0.0).item()
    assert own == pytest.approx(torch.nn.functional.cross_entropy(LOGITS, truth, label_smoothing=0.2).item())


def test_a_sure_and_right_answer_has_a_finite_gradient():
    logits = torch.tensor([[60.0, -60.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([[1.0, 0.0]]), 0.5).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("focus", [0.0, 2.0])
def test_binary_focal_loss_by_slow_loops(focus):
    slow = 0.0
    for logits, targets in zip(LOGITS.tolist(), TARGETS.tolist(), strict=True):
        for logit, target in zip(logits, targets, strict=True):
            p = 1 / (1 + math.exp(-logit))
            slow -= target * (1 - p) ** focus * math.log(p) / 2
            slow -= (1 - target) * p**focus * math.log(1 - p) / 2
    assert binary_focal_loss(LOGITS, TARGETS, focus).item() == pytest.approx(slow, rel=1e-5)
    sure = torch.tensor([[90.0, -90.0]], requires_grad=True)
    binary_focal_loss(sure, torch.tensor([[1.0, 0.0]]), 0.5).backward()
    assert torch.isfinite(sure.grad).all()


def test_binary_distillation_by_slow_loops_is_zero_for_the_teacher_itself():
    teacher = torch.flip(LOGITS, [1])
    slow = 0.0
    for own, taught in zip(LOGITS.flatten().tolist(), teacher.flatten().tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-own / 3)), 1 / (1 + math.exp(-taught / 3))
        slow += (q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))) * 9 / 2
    assert binary_imitation_loss(LOGITS, teacher, 3.0).item() == pytest.approx(slow, rel=1e-4)
    assert binary_imitation_loss(LOGITS, LOGITS, 3.0).item() == pytest.approx(0, abs=1e-6)


def test_truths_of_their_own_are_smoothed_towards_doubt():
    assert torch.allclose(smooth_truths(torch.tensor([[1.0, 0.0]]), 0.2), torch.tensor([[0.9, 0.1]]))
