"""The foreground shows people whom the detector has lost, and nothing else."""

import numpy as np
import pytest

from services.perception.foreground import Foreground
from services.perception.frame import Frame

WIDTH_PX, HEIGHT_PX = 640, 360
NOBODY = np.zeros((0, 4), np.float32)
LYING = np.array([300, 280, 420, 320], np.float32)
STANDING = np.array([330, 200, 380, 320], np.float32)


def picture(*people: np.ndarray, shade: int = 200, seed: int = 0) -> np.ndarray:
    """A noisy grey hall with darker people in it."""
    rgb = np.random.default_rng(seed).normal(120, 3, (HEIGHT_PX, WIDTH_PX, 3))
    for left, top, right, bottom in (box.astype(int) for box in people):
        rgb[top:bottom, left:right] = shade
    return rgb.clip(0, 255).astype(np.uint8)


def watch(foreground: Foreground, *people: np.ndarray, at: float, known: np.ndarray = NOBODY) -> None:
    foreground.look(Frame(picture(*people, seed=round(at * 10)), at))
    foreground.learn(at, known)


@pytest.fixture
def foreground() -> Foreground:
    """Has seen the empty hall."""
    seen = Foreground(WIDTH_PX, HEIGHT_PX)
    watch(seen, at=0.0)
    return seen


def test_somebody_who_has_fallen_is_found_near_where_they_stood(foreground: Foreground) -> None:
    watch(foreground, LYING, at=0.1)
    found = foreground.find_body(STANDING, NOBODY)
    assert found is not None
    np.testing.assert_allclose(found, LYING, atol=10)


def test_what_belongs_to_others_is_taken_out_where_it_reaches_beyond_the_search(foreground: Foreground) -> None:
    watch(foreground, LYING, at=0.1)
    left, above = np.array([0, 0, 250, 360], np.float32), np.array([280, 0, 440, 100], np.float32)
    found = foreground.find_body(STANDING, np.stack([left, above]))
    assert found is not None
    np.testing.assert_allclose(found, LYING, atol=10)
    around = np.array([250, 100, 460, 360], np.float32)
    assert foreground.find_body(STANDING, np.stack([left, around])) is None


def test_of_several_things_the_largest_is_the_body(foreground: Foreground) -> None:
    watch(foreground, np.array([300, 190, 320, 210], np.float32), LYING, at=0.1)
    found = foreground.find_body(STANDING, NOBODY)
    assert found is not None
    np.testing.assert_allclose(found, LYING, atol=10)


def test_a_thing_much_larger_than_the_person_is_not_them(foreground: Foreground) -> None:
    watch(foreground, np.array([250, 100, 460, 360], np.float32), at=0.1)
    assert foreground.find_body(STANDING, NOBODY) is None


@pytest.mark.parametrize("shade", [40, (200, 120, 120), (120, 120, 40)], ids=["dark", "red", "yellow"])
def test_whatever_they_wear_they_stand_out(foreground: Foreground, shade: object) -> None:
    rgb = picture()
    rgb[280:320, 300:420] = shade
    foreground.look(Frame(rgb, 0.1))
    found = foreground.find_body(STANDING, NOBODY)
    assert found is not None
    np.testing.assert_allclose(found, LYING, atol=10)


def test_limbs_beside_somebody_known_are_not_somebody_new(foreground: Foreground) -> None:
    arm = np.array([380, 200, 390, 320], np.float32)
    watch(foreground, STANDING, arm, at=0.1)
    assert foreground.find_newcomers(STANDING[None]) == []


def test_what_stays_becomes_background_by_seconds_and_only_where_nobody_is_known(foreground: Foreground) -> None:
    bag = np.array([60, 200, 160, 320], np.float32)
    watch(foreground, bag, LYING, at=8.0, known=LYING[None])
    watch(foreground, bag, LYING, at=8.1, known=LYING[None])
    assert foreground.find_body(bag, NOBODY) is None
    assert foreground.find_body(LYING, NOBODY) is not None


def test_an_empty_hall_has_nobody(foreground: Foreground) -> None:
    watch(foreground, at=0.1)
    assert foreground.find_body(STANDING, NOBODY) is None


def test_what_belongs_to_somebody_else_is_not_taken(foreground: Foreground) -> None:
    watch(foreground, LYING, at=0.1)
    assert foreground.find_body(STANDING, LYING[None] + np.array([-8, -8, 8, 8], np.float32)) is None


def test_a_thing_much_smaller_than_the_person_is_not_them(foreground: Foreground) -> None:
    watch(foreground, np.array([350, 300, 365, 315], np.float32), at=0.1)
    assert foreground.find_body(STANDING, NOBODY) is None


def test_whoever_lies_still_stays_visible(foreground: Foreground) -> None:
    for tick in range(1, 80):
        watch(foreground, LYING, at=tick / 10, known=LYING[None])
    assert foreground.find_body(LYING, NOBODY) is not None


def test_what_nobody_stands_behind_becomes_background_soon(foreground: Foreground) -> None:
    for tick in range(1, 80):
        watch(foreground, LYING, at=tick / 10)
    assert foreground.find_body(LYING, NOBODY) is None


def test_when_the_light_goes_on_everything_is_learnt_anew(foreground: Foreground) -> None:
    foreground.look(Frame(np.full((HEIGHT_PX, WIDTH_PX, 3), 220, np.uint8), 0.1))
    assert foreground.find_body(STANDING, NOBODY) is None
    assert foreground.find_newcomers(NOBODY) == []


def test_somebody_new_stands_out_where_nobody_is_known_to_be(foreground: Foreground) -> None:
    other = np.array([100, 180, 160, 320], np.float32)
    watch(foreground, STANDING, other, at=0.1)
    both = foreground.find_newcomers(NOBODY)
    np.testing.assert_allclose(np.stack(both), np.stack([other, STANDING]), atol=10)
    (one,) = foreground.find_newcomers(STANDING[None])
    np.testing.assert_allclose(one, other, atol=10)
    assert foreground.find_newcomers(np.stack([STANDING, other])) == []


def test_neither_an_empty_hall_nor_a_small_thing_is_somebody_new(foreground: Foreground) -> None:
    watch(foreground, at=0.1)
    assert foreground.find_newcomers(NOBODY) == []
    watch(foreground, np.array([350, 300, 365, 315], np.float32), at=0.2)
    assert foreground.find_newcomers(NOBODY) == []


def test_a_crowd_of_newcomers_costs_no_more_than_two(foreground: Foreground) -> None:
    crowd = [np.array([x, 200, x + 50 + x / 20, 320], np.float32) for x in (20, 140, 260, 380, 500)]
    watch(foreground, *crowd, at=0.1)
    np.testing.assert_allclose(np.stack(foreground.find_newcomers(NOBODY)), np.stack([crowd[4], crowd[3]]), atol=10)


def test_a_new_scene_starts_empty(foreground: Foreground) -> None:
    foreground.forget()
    watch(foreground, LYING, at=0.1)
    assert foreground.find_body(STANDING, NOBODY) is None
