import numpy as np
import pytest
import torch
from torch import nn

from tests.unit.datasets.faces import CHIP_PX, make_faces
from training.config import FitParams
from training.datasets.face_views import draw_views, worsen
from training.fit import fit
from training.lessons.distillation import DistillationLesson


class Averages(nn.Module):
    """Reads 6×6 averages of luminance, at any side."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.mix = nn.Linear(36, 8)

    def forward(self, chips):
        return self.mix(nn.functional.adaptive_avg_pool2d(chips.mean(1, keepdim=True) / 255, 6).flatten(1))


def teach(chips):
    assert chips.shape[1:] == (3, CHIP_PX, CHIP_PX)
    with torch.no_grad():
        return Averages(1)(torch.from_numpy(chips)).numpy()


def make_lesson(subjects=8, pictures=2):
    train, validation = make_faces(subjects, pictures), make_faces(4, 2, seed=5, prefix="v")
    return DistillationLesson(Averages(2), teach, train, validation, student_px=12, views_each=3)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_student_comes_to_agree_with_its_teacher_about_strangers(tmp_path):
    # More subjects than the teacher reads numbers, or strangers would be beyond what they span.
    lesson = make_lesson(subjects=80, pictures=1)
    params = FitParams(
        seed=1, threads=1, precision="float32", epochs=12, batch_size=16, learning_rate=0.03, warmup_epochs=0,
        weight_decay=0, clip_norm=5, average_decay=0.5, patience=12,
    )  # fmt: skip
    before = lesson.validate()["teacher_cosine"]
    history = fit(lesson, params, checkpoint=tmp_path / "c.safetensors", fingerprint="", report=lambda epoch: None)
    assert before < 0.5
    assert history[-1].measures["teacher_cosine"] > 0.75


def test_an_epoch_holds_every_face_so_many_times():
    assert torch.bincount(make_lesson().draw_epoch(seeded())).tolist() == [3] * 16


def test_the_mean_is_that_of_the_training_faces():
    lesson = make_lesson()
    faces = make_faces(8, 2).rows(np.arange(16))[:, 3:27, 3:27].astype(np.float32)
    grey = np.rint(faces @ np.array([0.299, 0.587, 0.114], np.float32))
    expected = teach(np.repeat(grey[:, None], 3, axis=1)).mean(0)
    np.testing.assert_allclose(lesson.mean_D.numpy(), expected, atol=1e-4)


def test_views_are_decided_by_the_seed_and_lie_between_their_faces():
    one, other = torch.full((20, 1, 30, 30), 40.0), torch.full((20, 1, 30, 30), 200.0)
    views, same, apart = (draw_views(one, other, 24, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(views, same)
    # Flat faces take on one another's light, so a blend of them is as flat.
    torch.testing.assert_close(views, torch.full((20, 1, 24, 24), 40.0))
    assert torch.equal(apart, views)
    textured = torch.rand(20, 1, 30, 30, generator=seeded()) * 255
    blended = draw_views(textured, textured.flip(0), 24, seeded(1))
    assert not torch.equal(blended, draw_views(textured, textured.flip(0), 24, seeded(2)))
    assert blended.min() >= 0
    assert blended.max() <= 255
    assert torch.equal(blended, blended.round())


def test_worse_views_stay_pictures_and_leave_the_clear_ones_alone():
    clear = torch.rand(12, 1, 16, 16, generator=seeded()) * 255
    before = clear.clone()
    worse = worsen(clear, seeded(1))
    assert torch.equal(clear, before)
    assert worse.shape == clear.shape
    assert not torch.equal(worse, clear)
    assert worse.min() >= 0
    assert worse.max() <= 255


def test_a_student_that_says_the_same_of_all_is_stopped():
    lesson = make_lesson()
    with torch.no_grad():
        lesson.student.mix.weight.zero_()
        lesson.student.mix.bias.fill_(3.0)
    with pytest.raises(Exception, match="collapsed"):
        lesson.validate()
