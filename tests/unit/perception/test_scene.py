import numpy as np

from services.perception.frame import Frame
from services.perception.scene import SceneWatch


def scene(seed: int) -> np.ndarray:
    return np.kron(np.random.default_rng(seed).integers(20, 230, (9, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)


def cuts(pictures: list[np.ndarray]) -> list[bool]:
    watch = SceneWatch()
    return [watch.is_cut(Frame(picture, k / 10)) for k, picture in enumerate(pictures)]


def test_another_scene_is_a_cut() -> None:
    assert cuts([scene(1), scene(1), scene(2), scene(2)]) == [False, False, True, False]


def test_light_and_people_are_no_cuts() -> None:
    walked_in = scene(1)
    walked_in[40:170, 100:160] = 200
    assert cuts([scene(1), (scene(1) * 0.4).astype(np.uint8), scene(1), walked_in]) == [False] * 4


def test_darkness_is_no_cut() -> None:
    noise = np.random.default_rng(0)
    assert not any(cuts([noise.integers(0, 12, (180, 320, 3), dtype=np.uint8) for _ in range(4)]))
