"""Scenes small enough to render in a test."""

from collections.abc import Callable

import pytest

from training.scenes.render import Scene
from training.scenes.sets import direct_scene
from training.scenes.subject import sample_subject

DrawScene = Callable[..., Scene]


@pytest.fixture(scope="session")
def draw_scene() -> DrawScene:
    def draw(*, seed: int = 5, seconds: float = 1.6, people: int = 3, pushes: int = 0) -> Scene:
        cast = [sample_subject(50 + number) for number in range(people)]
        return direct_scene(seed, cast, seconds=seconds, fps=5.0, size_px=(320, 180), pushes=pushes)

    return draw
