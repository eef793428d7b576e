import pytest
import torch

from training.config import AugmentationParams
from training.datasets.augmentation import augment

OFF = AugmentationParams(
    flip_probability=0,
    shift=0,
    zoom=0,
    light=0,
    colour=0,
    recolour_probability=0,
    blur_probability=0,
    noise=0,
    erase_probability=0,
)
RGB = torch.randint(0, 255, (6, 3, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
MOTION = torch.randn(6, 3, 5, generator=torch.Generator().manual_seed(1))


def run(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    return augment(RGB, MOTION, OFF.model_copy(update=changes), generator)


def test_everything_off_changes_nothing():
    rgb, motion = run()
    assert torch.equal(rgb, RGB)
    assert torch.equal(motion, MOTION)


def test_a_mirrored_window_also_moves_the_other_way():
    rgb, motion = run(flip_probability=1.0)
    assert torch.equal(rgb, RGB.flip(3))
    assert torch.equal(motion[..., 0], -MOTION[..., 0])
    assert torch.equal(motion[..., 1:], MOTION[..., 1:])


@pytest.mark.parametrize(
    "change",
    [
        {"shift": 0.2},
        {"zoom": 0.3},
        {"light": 0.3},
        {"colour": 0.3},
        {"recolour_probability": 1.0},
        {"blur_probability": 1.0},
        {"noise": 9.0},
        {"erase_probability": 1.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_change_changes_pictures_alone_and_repeats_with_its_seed(change):
    rgb, motion = run(**change)
    assert rgb.dtype == torch.uint8
    assert rgb.shape == RGB.shape
    assert not torch.equal(rgb, RGB)
    assert torch.equal(motion, MOTION)
    assert torch.equal(rgb, run(**change)[0])


def test_another_seed_draws_other_changes():
    assert not torch.equal(run(shift=0.2, noise=9.0)[0], run(seed=1, shift=0.2, noise=9.0)[0])


def test_a_cover_hides_the_same_place_in_every_frame():
    covered = (run(erase_probability=1.0)[0] != RGB).any(-1)
    for window in covered:
        rows = [frame.any(1).nonzero().flatten().tolist() for frame in window]
        assert rows[0] == rows[1] == rows[2]


def test_new_colours_hold_for_a_whole_window_and_leave_shapes_alone():
    rgb, _ = run(recolour_probability=1.0)
    same = torch.equal(RGB[0, 0], RGB[0, 1])
    assert not same
    # Within a window equal pixels stay equal: paint two frames alike, and they come out alike.
    twice = RGB.clone()
    twice[:, 1] = twice[:, 0]
    again, _ = augment(
        twice, MOTION, OFF.model_copy(update={"recolour_probability": 1.0}), torch.Generator().manual_seed(0)
    )
    assert torch.equal(again[:, 0], again[:, 1])
    assert torch.equal(again[:, 0], rgb[:, 0])
