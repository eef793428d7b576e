import numpy as np

from services.perception.appearance import describe_torso, likeness


def striped() -> np.ndarray:
    """A red shirt above blue trousers, 100 px wide and 300 px high, on grey."""
    picture = np.full((400, 400, 3), 128, np.uint8)
    picture[100:220, 100:200] = (200, 30, 30)
    picture[220:340, 100:200] = (30, 30, 200)
    return picture


def test_clothes_are_those_of_the_torso_whatever_the_light() -> None:
    picture = striped()
    bright, dim = (describe_torso(light, np.array([100, 60, 200, 360])) for light in (picture, picture // 2))
    trousers = describe_torso(picture, np.array([100, 180, 200, 480]))
    assert bright is not None
    assert abs(float(bright.sum()) - 1) < 1e-5
    assert likeness(bright, dim) > likeness(bright, trousers) + 0.2


def test_who_lies_shows_no_torso_where_it_is_looked_for() -> None:
    lying = np.rot90(striped()).copy()
    assert describe_torso(lying, np.array([60, 200, 360, 300])) is None
    assert likeness(None, describe_torso(striped(), np.array([100, 60, 200, 360]))) == 0.5


def test_a_torso_outside_the_picture_is_unknown() -> None:
    assert describe_torso(striped(), np.array([390, 60, 490, 360])) is None
