import numpy as np
import pytest
import torch
from torch import nn

from services.contracts.errors import BadInput
from tests.unit.datasets.faces import CHIP_PX, make_faces
from training.config import FitParams
from training.datasets import face_views
from training.datasets.face_views import StudentChip, draw_views, prepare_views, view_as_they_are, worsen
from training.fit import fit
from training.lessons.distillation import DistillationLesson

STUDENT = StudentChip(size_px=12, seen_px=24)


class Averages(nn.Module):
    """Reads 6×6 averages of luminance, at any side."""

    def __init__(self, seed):
        super().__init__()
        torch.manual_seed(seed)
        # The student's bias learns to take the teacher's mean away.
        self.mix = nn.Linear(36, 8)

    def forward(self, chips):
        return self.mix(nn.functional.adaptive_avg_pool2d(chips.mean(1, keepdim=True) / 255, 6).flatten(1))


def teach(chips):
    assert chips.shape[1:] == (3, CHIP_PX, CHIP_PX)
    with torch.no_grad():
        return Averages(1)(torch.from_numpy(chips)).numpy()


def make_views(folder, subjects=8, pictures=2, count=60, **changes):
    wanted = {"count": count, "chip": STUDENT, "seed": 1, "teacher_id": "0"} | changes
    return prepare_views(make_faces(subjects, pictures), teach, folder, **wanted)


def make_lesson(folder, **sizes):
    validation = view_as_they_are(make_faces(4, 2, seed=5, prefix="v"), teach, STUDENT)
    return DistillationLesson(Averages(2), make_views(folder, **sizes), validation)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_student_comes_to_agree_with_its_teacher_about_strangers(tmp_path):
    # More subjects than the teacher reads numbers, or strangers would be beyond what they span.
    lesson = make_lesson(tmp_path, subjects=80, pictures=1, count=1200)
    params = FitParams(
        seed=1, threads=1, precision="float32", epochs=4, batch_size=16, learning_rate=0.03, warmup_epochs=0,
        weight_decay=0, clip_norm=5, average_decay=0.5, patience=12,
    )  # fmt: skip
    before = lesson.validate()["teacher_cosine"]
    history = fit(lesson, params, checkpoint=tmp_path / "c.safetensors", fingerprint="", report=lambda epoch: None)
    assert before < 0.5
    assert history[-1].measures["teacher_cosine"] > 0.75


def test_an_epoch_holds_every_view_once(tmp_path):
    assert sorted(make_lesson(tmp_path).draw_epoch(seeded()).tolist()) == list(range(60))


def test_faces_as_they_are_are_seen_in_grey_by_both(tmp_path):
    views = view_as_they_are(make_faces(8, 2), teach, STUDENT)
    faces = make_faces(8, 2).rows(np.arange(16))[:, 3:27, 3:27].astype(np.float32)
    grey = np.rint(faces @ np.array([0.299, 0.587, 0.114], np.float32))
    np.testing.assert_allclose(views.embeddings.numpy(), teach(np.repeat(grey[:, None], 3, axis=1)), atol=1e-4)
    halved = grey.reshape(16, 12, 2, 12, 2).mean((2, 4))
    assert np.abs(views.pixels[:, 0].numpy() - halved).max() <= 0.5


def test_a_student_may_see_the_middle_alone_at_a_scale_nearer_the_teacher_s(tmp_path):
    whole = view_as_they_are(make_faces(8, 2), teach, StudentChip(size_px=24, seen_px=24))
    middle = view_as_they_are(make_faces(8, 2), teach, StudentChip(size_px=16, seen_px=16))
    assert torch.equal(middle.pixels, whole.pixels[:, :, 4:20, 4:20])
    assert torch.equal(middle.embeddings, whole.embeddings), "the teacher sees all of it"


def test_views_are_made_once_and_an_interrupted_shard_again(tmp_path, monkeypatch):
    monkeypatch.setattr(face_views, "SHARD_VIEWS", 20)
    monkeypatch.setattr(face_views, "_BATCH", 10)
    whole = make_views(tmp_path, count=60)
    assert (len(whole), whole.pixels.shape[1:], whole.embeddings.shape) == (60, (1, 12, 12), (60, 8))
    (tmp_path / "shard-00002.npz").rename(tmp_path / "shard-00002.part")
    kept = (tmp_path / "shard-00000.npz").stat().st_mtime_ns
    again = make_views(tmp_path, count=60)
    assert torch.equal(again.pixels, whole.pixels)
    assert torch.equal(again.embeddings, whole.embeddings)
    assert (tmp_path / "shard-00000.npz").stat().st_mtime_ns == kept
    assert len(make_views(tmp_path, count=30)) == 30


@pytest.mark.parametrize(
    "change", [{"chip": StudentChip(size_px=10, seen_px=24)}, {"seed": 2}, {"teacher_id": "1"}, {"subjects": 7}]
)
def test_views_of_other_faces_or_for_other_networks_are_refused(tmp_path, monkeypatch, change):
    monkeypatch.setattr(face_views, "SHARD_VIEWS", 10)
    monkeypatch.setattr(face_views, "_BATCH", 10)
    make_views(tmp_path, count=10)
    with pytest.raises(BadInput, match="other inputs"):
        make_views(tmp_path, count=10, **change)


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


def test_a_student_that_says_the_same_of_all_is_stopped(tmp_path):
    lesson = make_lesson(tmp_path)
    with torch.no_grad():
        lesson.student.mix.weight.zero_()
        lesson.student.mix.bias.fill_(3.0)
    with pytest.raises(Exception, match="collapsed"):
        lesson.validate()
