import pytest
import torch

from tests.unit.datasets.faces import CANVAS_PX, CHIP_PX, make_faces
from training.config import FaceAugmentationParams, read_config
from training.datasets import face_augmentation as steps
from training.datasets.illumination import EvenLight
from training.datasets.sampling import draw_subjects

OFF = dict.fromkeys(FaceAugmentationParams.model_fields, 0)


@pytest.fixture
def canvases():
    return torch.from_numpy(make_faces().rows(torch.arange(6).numpy()))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_for_is_the_chip_itself(canvases):
    plain = steps.augment_faces(canvases, CHIP_PX, FaceAugmentationParams(**OFF), seeded())
    torch.testing.assert_close(plain, steps.crop_chips(canvases, CHIP_PX), atol=1e-3, rtol=0)


def test_the_seed_decides_everything(canvases, repository):
    params = read_config(repository / "params.yaml").train_face.augmentation
    one, same, other = (steps.augment_faces(canvases, CHIP_PX, params, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (6, 3, CHIP_PX, CHIP_PX)
    assert one.min() >= 0
    assert one.max() <= 255


@pytest.mark.parametrize("name", ["turn_grey", "blur", "lower_resolution", "compress", "cover", "wear_mask"])
def test_every_step_changes_faces_and_leaves_its_input_alone(canvases, name):
    chips = steps.crop_chips(canvases, CHIP_PX)
    before = chips.clone()
    changed = getattr(steps, name)(chips, seeded())
    assert changed.shape == chips.shape
    assert torch.equal(chips, before)
    assert ((changed - chips).abs().flatten(1).max(1).values > 1).all()
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_mirroring_mirrors(canvases):
    params = FaceAugmentationParams(**{**OFF, "flip_probability": 1})
    mirrored = steps.augment_faces(canvases, CHIP_PX, params, seeded())
    torch.testing.assert_close(mirrored, steps.crop_chips(canvases, CHIP_PX).flip(-1), atol=1e-3, rtol=0)


def test_moving_uncovers_what_the_margin_holds():
    canvas = torch.zeros(64, CANVAS_PX, CANVAS_PX, 3, dtype=torch.uint8)
    canvas[:, :, :3] = 255
    params = FaceAugmentationParams(**{**OFF, "shift": 0.09})
    assert (steps.augment_faces(canvas, CHIP_PX, params, seeded())[:, :, :, 0] > 0).any()


def test_a_blurred_edge_is_soft_and_flat_faces_stay_flat():
    flat = torch.full((2, 3, 40, 40), 90.0)
    torch.testing.assert_close(steps.blur(flat, seeded()), flat)
    edge = flat.clone()
    edge[..., 20:] = 200
    assert steps.blur(edge, seeded()).diff(dim=-1).abs().max() < 110


def test_a_mask_covers_the_mouth_and_not_the_eyes():
    chips = torch.full((1, 3, 50, 50), 60.0)
    masked = steps.wear_mask(chips, seeded())
    assert torch.equal(masked[..., :28, :], chips[..., :28, :])
    assert (masked[..., 40, 25] > 60).all()


def test_even_light_takes_a_shadow_away():
    face = 60 + 140 * torch.rand(1, 3, 40, 40, generator=seeded())
    shadow = torch.linspace(0.3, 1, 40)
    even = EvenLight()
    apart = (even(face) - even(face * shadow)).abs().mean()
    assert apart < 0.2 * (face - face * shadow).abs().mean()
    assert even(face).shape == face.shape
    assert even(face).mean().item() == pytest.approx(127.5, abs=10)


def test_batches_hold_so_many_pictures_of_so_many_subjects():
    classes = torch.tensor([0] * 7 + [1] * 2 + [2] * 5 + [3] * 1 + [4] * 9)
    rows = draw_subjects(classes, 3, 4, seeded())
    assert len(rows) == 24
    met = set()
    for batch in rows.split(12):
        subjects, counts = classes[batch].unique(return_counts=True)
        assert len(subjects) == 3
        assert (counts == 4).all()
        met |= set(subjects.tolist())
    assert met == {0, 1, 2, 3, 4}
