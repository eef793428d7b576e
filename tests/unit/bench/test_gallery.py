import numpy as np
import pytest

from training.bench.gallery import _area, measure_protection, measure_speed


def test_the_area_by_slow_loops() -> None:
    rng = np.random.default_rng(1)
    positive, negative = rng.integers(0, 6, 20) / 5, rng.integers(0, 5, 30) / 5
    wins = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    assert _area(positive, negative) == pytest.approx(np.mean(wins))


def test_protection_and_speed_are_said_with_their_bars() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    people = np.repeat([f"p{k}" for k in range(30)], 2)
    lines = "\n".join(measure_protection(rows, people, rng) + measure_speed(20, rng))
    for said in ("bar: 1e-6", "0.5 is chance", "bar: 100 ms", "30 mated"):
        assert said in lines
