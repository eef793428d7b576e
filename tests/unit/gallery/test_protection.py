import numpy as np
import pytest

from services.gallery.protection import make_rotation, rotate

DIMENSION = 64
FIXED = np.array(
    [
        [0.586011435037578, 0.45018065118941536, 0.6737417749404234],
        [0.38021067264207264, -0.8870191950716084, 0.26198624388234243],
        [-0.7155630247673931, -0.1026368786995659, 0.6909668796089647],
    ]
)


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def rotation(secret: bytes, space: str = "s") -> np.ndarray:
    return make_rotation(secret, space=space, dimension=DIMENSION)


def test_cosines_stay_within_a_millionth() -> None:
    rows = unit_rows(200, 1)
    turned = rotate(rows, rotation(b"k" * 32))
    assert np.abs(turned @ turned.T - rows @ rows.T).max() < 1e-6
    assert np.abs(rotate(turned, rotation(b"k" * 32).T) - rows).max() < 1e-6


def test_the_same_secret_gives_the_same_rotation_for_ever() -> None:
    """The first numbers of a fixed secret, written down: templates on disk depend on them."""
    fixed = make_rotation(bytes(range(32)), space="s", dimension=3)
    assert np.allclose(fixed @ fixed.T, np.eye(3), atol=1e-14)
    assert fixed == pytest.approx(FIXED, abs=1e-12)


def test_another_secret_or_space_gives_unrelated_directions() -> None:
    """Cosines of one face across two keys are those of two random directions: mean 0, deviation 1/sqrt(D)."""
    rows = unit_rows(500, 2)
    for other in (rotation(b"l" * 32), rotation(b"k" * 32, "t")):
        across = np.sum(rotate(rows, rotation(b"k" * 32)) * rotate(rows, other), axis=1)
        assert abs(across.mean()) < 0.05
        assert across.std() == pytest.approx(1 / np.sqrt(DIMENSION), rel=0.15)
