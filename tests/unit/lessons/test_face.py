import numpy as np
import pytest
import torch
from torch import nn

from tests.unit.datasets.faces import CHIP_PX, make_faces
from training.config import AdversarialParams, MarginParams, TripletParams, read_config
from training.fit import fit
from training.lessons.face import FaceLesson, embed_chips, make_head, pair_up
from training.objectives.adversarial import perturb
from training.objectives.collapse import Collapsed


class TinyNetwork(nn.Module):
    """A few averages of the picture, mixed: learns the patterns in a second."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3 * 36, 16)

    def forward(self, chips):
        return self.mix(nn.functional.avg_pool2d(chips / 255 - 0.5, CHIP_PX // 6).flatten(1))


def make_network(seed=0):
    torch.manual_seed(seed)
    return TinyNetwork()


@pytest.fixture
def params(repository):
    params = read_config(repository / "params.yaml").train_face
    augmentation = params.augmentation.model_copy(update={"jpeg_probability": 0.0})
    network = params.network.model_copy(update={"embedding": 16})
    changes = {"epochs": 3, "batch_size": 8, "pictures_each": 2, "augmentation": augmentation, "network": network}
    return params.model_copy(update=changes | {"learning_rate": 0.02, "least_spread": 0.001})


def change(params, **parts):
    return params.model_copy(update={"objective": params.objective.model_copy(update=parts)})


def make_lesson(params, **more):
    return FaceLesson(make_network(), make_faces(8, 4), make_faces(6, 4, seed=9, prefix="v"), params, **more)


def run(lesson, params, path, report=lambda epoch: None):
    return fit(lesson, params, checkpoint=path / "c.safetensors", fingerprint="a", report=report)


OBJECTIVES = {
    "margin": {"triplet": None},
    "triplet": {"margin": None},
    "both": {},
    "teacher": {"margin": None, "triplet": None, "distillation": 1.0, "relations": 1.0},
    "compatible": {"triplet": None, "compatible": 1.0},
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_teaches(name, params, tmp_path):
    wanted = change(params, **OBJECTIVES[name])
    teacher = None
    if name in ("teacher", "compatible"):
        teacher = embed_chips(make_network(5), make_faces(8, 4))
    lesson = make_lesson(wanted, teacher_ND=teacher)
    history = run(lesson, wanted.model_copy(update={"epochs": 6}), tmp_path)
    assert history[-1].train_loss < history[0].train_loss
    assert 0.5 < history[-1].measures["validation_auc"] <= 1


@pytest.mark.parametrize("kind", ["softmax", "sphereface", "cosface", "arcface", "adaface"])
def test_heads_are_made_as_described(kind):
    params = MarginParams(kind=kind, weight=1, scale=12, margin=2 if kind == "sphereface" else 0.2, warmup_epochs=0)
    head = make_head(params, 16, 5)
    assert (head.scale, head.centres.shape) == (12, (5, 16))
    assert type(head).__name__.lower() == kind


def test_the_margin_grows_over_its_warm_up(params):
    margin = params.objective.margin.model_copy(update={"warmup_epochs": 2})
    lesson = make_lesson(change(params, margin=margin, triplet=None))
    rows, generator = torch.arange(32), torch.Generator().manual_seed(0)
    lesson.train()
    first = lesson(rows, torch.Generator().manual_seed(0)).item()
    for _ in range(2):
        lesson(rows, generator)
    assert lesson(rows, torch.Generator().manual_seed(0)).item() > first


def test_an_objective_without_its_teacher_is_refused(params):
    with pytest.raises(ValueError, match=r"prepare_face\.teacher"):
        make_lesson(change(params, distillation=1.0))


def test_a_collapsed_run_is_stopped(params, tmp_path):
    lesson = make_lesson(params)
    with torch.no_grad():
        lesson.network.mix.weight.zero_()
        lesson.network.mix.bias.fill_(1.0)
    with pytest.raises(Collapsed):
        run(lesson, params.model_copy(update={"learning_rate": 1e-9}), tmp_path)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("decay", [0.0, 0.8])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(params, tmp_path, decay):
    params = params.model_copy(update={"average_decay": decay, "accumulation": 2})

    def stop(epoch):
        if epoch.epoch == 0:
            raise Stopped

    (tmp_path / "whole").mkdir()
    whole, halved, resumed = make_lesson(params), make_lesson(params), make_lesson(params)
    expected = run(whole, params, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(halved, params, tmp_path, stop)
    assert run(resumed, params, tmp_path) == expected
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_batch_in_parts_gives_the_gradients_of_the_whole(params, tmp_path):
    params = change(params, triplet=None).model_copy(update={"epochs": 1})
    plain = params.augmentation.model_copy(update=dict.fromkeys(type(params.augmentation).model_fields, 0.0))
    params = params.model_copy(update={"augmentation": plain})
    lessons = {}
    for parts in (1, 4):
        lessons[parts] = make_lesson(params)
        (tmp_path / str(parts)).mkdir()
        # Without warm-up: the margin's share counts rows, and parts would see it a little earlier.
        lessons[parts]._params = change(
            params, margin=params.objective.margin.model_copy(update={"warmup_epochs": 0.0})
        )
        run(lessons[parts], params.model_copy(update={"accumulation": parts}), tmp_path / str(parts))
    for one, other in zip(lessons[1].parameters(), lessons[4].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_adversarial_training_learns_from_changed_faces(params, tmp_path):
    params = params.model_copy(update={"adversarial": AdversarialParams(epsilon=4, steps=2), "epochs": 2})
    history = run(make_lesson(params), params, tmp_path)
    assert history[-1].train_loss < history[0].train_loss * 1.5


@pytest.mark.parametrize("steps", [1, 4])
def test_perturbed_faces_cost_more_and_stay_near(steps):
    network = make_network()
    chips = torch.rand(4, 3, CHIP_PX, CHIP_PX, generator=torch.Generator().manual_seed(1)) * 255

    def loss_of(x):
        return network(x).square().sum()

    generator = torch.Generator().manual_seed(0) if steps > 1 else None
    worse = perturb(chips, loss_of, epsilon=3, steps=steps, generator=generator)
    assert loss_of(worse) > loss_of(chips)
    assert (worse - chips).abs().max() <= 3 + 1e-4
    assert worse.min() >= 0
    assert worse.max() <= 255
    assert not worse.requires_grad


def test_pairs_are_every_two_faces():
    vectors = np.array([[1, 0], [0, 2], [3, 0]], np.float32)
    similarity, same = pair_up(vectors, np.array([0, 1, 0]))
    assert similarity.tolist() == [0, 1, 0]
    assert same.tolist() == [False, True, False]


def test_triplet_params_reach_the_objective(params):
    triplet = TripletParams(mining="hard", weight=2.0, margin=0.1)
    lesson = make_lesson(change(params, margin=None, triplet=triplet))
    single = make_lesson(change(params, margin=None, triplet=triplet.model_copy(update={"weight": 1.0})))
    rows = torch.arange(16)
    doubled, plain = (x(rows, torch.Generator().manual_seed(0)).item() for x in (lesson, single))
    assert doubled == pytest.approx(2 * plain)
