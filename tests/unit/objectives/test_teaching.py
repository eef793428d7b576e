import math

import pytest
import torch

from training.objectives.collapse import Collapsed, measure_spread, refuse_collapse
from training.objectives.margins import CosFace
from training.objectives.teaching import CompatibleHead, class_centres, distillation_loss, relation_loss


def cosine(one, other):
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / math.sqrt(sum(a * a for a in one)) / math.sqrt(sum(b * b for b in other))


@pytest.fixture
def faces():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(5, 4, generator=generator), torch.randn(5, 4, generator=generator)


def test_distillation_agrees_with_a_slow_recomputation(faces):
    student, teacher = faces
    expected = sum(1 - cosine(s, t) for s, t in zip(student.tolist(), teacher.tolist(), strict=True)) / 5
    assert distillation_loss(student, teacher).item() == pytest.approx(expected, abs=1e-6)
    assert distillation_loss(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_relations_agree_with_a_slow_recomputation_and_need_no_common_dimension(faces):
    student, teacher = faces[0], torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    s, t = student.tolist(), teacher.tolist()
    gaps = [(cosine(s[i], s[j]) - cosine(t[i], t[j])) ** 2 for i in range(5) for j in range(5) if i != j]
    assert relation_loss(student, teacher).item() == pytest.approx(sum(gaps) / len(gaps), abs=1e-6)
    turned = teacher @ torch.linalg.qr(torch.randn(7, 7, generator=torch.Generator().manual_seed(2)))[0]
    assert relation_loss(turned, teacher).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("loss", [distillation_loss, relation_loss])
def test_gradients_reach_the_student(loss, faces):
    student = faces[0].requires_grad_()
    loss(student, faces[1]).backward()
    assert student.grad.abs().sum() > 0


def test_imitation_of_another_dimension_is_refused(faces):
    with pytest.raises(ValueError, match="one dimension"):
        distillation_loss(faces[0][:, :3], faces[1])


def test_old_centres_pull_but_do_not_move(faces):
    old = class_centres(faces[1], torch.tensor([0, 0, 1, 1, 2]), 3)
    head = CompatibleHead(CosFace(4, 3, scale=8), old)
    embeddings = faces[0].requires_grad_()
    loss = head(embeddings, torch.tensor([0, 1, 2, 0, 1]))
    loss.backward()
    assert embeddings.grad.abs().sum() > 0
    assert [p for p in head.parameters() if p.requires_grad] == []
    assert head(old, torch.arange(3)) < loss


def test_centres_are_unit_means(faces):
    centres = class_centres(faces[0], torch.tensor([0, 0, 2, 2, 2]), 3)
    unit = faces[0] / faces[0].norm(dim=1, keepdim=True)
    expected = unit[:2].mean(0) / unit[:2].mean(0).norm()
    torch.testing.assert_close(centres[0], expected)
    assert centres[1].abs().sum() == 0


def test_spread_is_one_minus_the_mean_cosine(faces):
    rows = faces[0].tolist()
    cosines = [cosine(rows[i], rows[j]) for i in range(5) for j in range(5) if i != j]
    assert measure_spread(faces[0]) == pytest.approx(1 - sum(cosines) / len(cosines), abs=1e-6)


def test_a_collapsed_run_is_stopped_and_a_sound_one_is_not():
    one = torch.randn(1, 16).expand(8, 16) + 1e-3 * torch.randn(8, 16)
    with pytest.raises(Collapsed, match="8 faces have collapsed"):
        refuse_collapse(one, least_spread=0.05)
    with pytest.raises(Collapsed, match="not finite"):
        refuse_collapse(torch.full((3, 4), math.nan), least_spread=0.05)
    assert refuse_collapse(torch.randn(8, 64), least_spread=0.05) > 0.5
