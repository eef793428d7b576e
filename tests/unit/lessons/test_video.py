import numpy as np
import pytest
import torch

from training.config import read_config
from training.fit import fit
from training.lessons.video import StripSet, VideoLesson, mix
from training.networks.video import make_video_network


@pytest.fixture(autouse=True)
def one_thread():
    """Several gain nothing on networks this small, and wait for each other where cores are few."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def params(repository):
    given = read_config(repository / "params.yaml").learn_clips.recurrent
    return given.model_copy(
        update={
            "epochs": 6,
            "batch_size": 8,
            "learning_rate": 0.02,
            "warmup_epochs": 0,
            "clip_norm": 5.0,
            "mixing": "none",
            "trained_stages": None,
            "window": given.window.model_copy(update={"frames": 4, "size_px": 16}),
            "network": given.network.model_copy(update={"channels": (8, 16), "units": 8, "dropout": 0.0}),
            "augmentation": given.augmentation.model_copy(
                update={"erase_probability": 0.0, "recolour_probability": 0.0, "colour": 0.0}
            ),
        }
    )


def strips(count=24, *, seed=0):
    """One action is red, the other blue."""
    rng = np.random.default_rng(seed)
    actions = np.arange(count) % 2
    pictures = rng.integers(0, 60, (count, 9, 16, 16, 3))
    pictures[actions == 0, ..., 0] += 150
    pictures[actions == 1, ..., 2] += 150
    return StripSet(list(pictures.astype(np.uint8)), actions.astype(np.int64), 2)


def network(params, seed=0):
    torch.manual_seed(seed)
    return make_video_network("cnn_gru", params.network, classes=2, size_px=16)


def lesson_of(params, *, seed=0, **others):
    return VideoLesson(network(params, seed), strips(), params, classes=2, **others)


def teach(lesson, params, folder, report=lambda epoch: None):
    return fit(lesson, params, checkpoint=folder / "checkpoint", fingerprint="f", report=report)


@pytest.mark.parametrize(
    "changed", [{}, {"mixing": "mixup"}, {"mixing": "cutmix"}, {"focus": 2.0}, {"balanced": False}, {"clip_value": 0.1}]
)
def test_learns_what_can_be_learned(params, tmp_path, changed):
    history = teach(lesson_of(params.model_copy(update=changed), validation=strips(seed=1)), params, tmp_path)
    assert max(epoch.measures["validation_accuracy"] for epoch in history) > 0.9


class Stopped(Exception):
    pass


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(params, tmp_path):
    params = params.model_copy(update={"mixing": "mixup", "trained_stages": 1, "thawed_epoch": 2})
    whole = lesson_of(params)
    teach(whole, params, tmp_path)

    def stop(epoch):
        if epoch.epoch == 1:
            raise Stopped

    with pytest.raises(Stopped):
        teach(lesson_of(params), params, tmp_path, stop)
    resumed = lesson_of(params)
    teach(resumed, params, tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_without_validation_the_last_epoch_is_kept(params, tmp_path):
    lesson = lesson_of(params)
    history = teach(lesson, params, tmp_path)
    assert len(history) == params.epochs
    assert int(lesson.epochs_begun) == params.epochs


def test_gradients_are_clipped_by_value(params):
    lesson = lesson_of(params.model_copy(update={"clip_value": 1e-4}))
    lesson(torch.arange(8), torch.Generator().manual_seed(0)).backward()
    largest = max(p.grad.abs().max().item() for p in lesson.parameters() if p.grad is not None)
    assert largest == pytest.approx(1e-4)


def test_frozen_stages_keep_weights_and_statistics_until_they_thaw(params, repository):
    params = params.model_copy(update={"trained_stages": 2, "thawed_epoch": 1})
    torch.manual_seed(0)
    given = read_config(repository / "params.yaml").learn_clips.residual
    lesson = VideoLesson(
        make_video_network("r3d_18", given.network, classes=2, size_px=16), strips(8), params, classes=2
    )
    generator = torch.Generator().manual_seed(0)

    def learned_in_an_epoch():
        rows = lesson.draw_epoch(generator)
        lesson.zero_grad()
        before = {name: value.clone() for name, value in lesson.named_buffers()}
        lesson.train()
        lesson(rows[:4], generator).backward()
        heard = {name for name, p in lesson.named_parameters() if p.grad is not None}
        counted = {name for name, value in lesson.named_buffers() if not torch.equal(value, before[name])}
        # torchvision's 3D networks are in five stages: stem, layer1 to layer4.
        return [{part.removeprefix("network.trunk.").split(".")[0] for part in parts} for parts in (heard, counted)]

    assert learned_in_an_epoch() == [{"layer4", "network"}, {"layer4"}]
    stages = {"stem", "layer1", "layer2", "layer3", "layer4"}
    assert learned_in_an_epoch() == [{*stages, "network"}, stages]


class Contrary(torch.nn.Module):
    def __init__(self, of):
        super().__init__()
        self.of = of

    def forward(self, rgb):
        return -self.of(rgb)


def test_a_teacher_pulls_towards_its_own_answers_and_is_neither_trained_nor_saved(params, tmp_path):
    learned = lesson_of(params)
    teach(learned, params, tmp_path)
    taught = params.model_copy(update={"imitation": 0.95, "label_smoothing": 0.0})
    pupil = lesson_of(taught, seed=5, teacher=Contrary(learned.network), validation=strips(seed=1))
    assert len(pupil.state_dict()) == len(learned.state_dict())
    before = {name: value.clone() for name, value in learned.state_dict().items()}
    teach(pupil, taught.model_copy(update={"patience": 99}), tmp_path)
    assert pupil.validate()["validation_accuracy"] < 0.2
    assert all(torch.equal(value, learned.state_dict()[name]) for name, value in before.items())


def test_mixed_targets_follow_the_pixels():
    rgb = torch.zeros(6, 2, 20, 20, 3, dtype=torch.uint8)
    rgb[3:] = 200
    target = torch.eye(2)[[0, 0, 0, 1, 1, 1]]
    for how in ("mixup", "cutmix"):
        mixed, targets = mix(rgb, target, how, 1.0, torch.Generator().manual_seed(3))
        assert torch.allclose(mixed.float().mean((1, 2, 3, 4)) / 200, targets[:, 1], atol=0.01)
        assert not torch.equal(targets, target)


def test_windows_are_cut_at_a_speed_and_a_place_and_hold_the_last_picture():
    counted = [
        np.full((length, 2, 2, 3), 0, np.uint8) + np.arange(length, dtype=np.uint8)[:, None, None, None]
        for length in (13, 5)
    ]
    cut = StripSet(counted, np.zeros(2, np.int64), 2).cut([0, 0, 0, 1], 4, [1.0, 1.0, 1.5, 1.0], [0.0, 1.0, 1.0, 0.5])
    assert cut[:, :, 0, 0, 0].tolist() == [[0, 2, 4, 6], [6, 8, 10, 12], [3, 6, 9, 12], [0, 2, 4, 4]]
