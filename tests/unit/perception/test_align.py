import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.card import FaceChipSpec
from services.perception.align import AlignmentFailed, align_face, fit_similarity

TEMPLATE = ((0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82))


def spec(size_px: int = 24) -> FaceChipSpec:
    return FaceChipSpec(size_px=size_px, template=TEMPLATE, channels="BGR", mean=(1.0, 2.0, 3.0), scale=0.5)


@settings(max_examples=60, deadline=None)
@given(st.floats(-math.pi, math.pi), st.floats(0.2, 8), st.floats(-300, 300), st.floats(-300, 300))
def test_a_similarity_is_found_again(angle: float, scale: float, x: float, y: float) -> None:
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    points = np.array(TEMPLATE) * 100
    found = fit_similarity(points, points @ linear.T + [x, y])
    np.testing.assert_allclose(found, np.hstack([linear, [[x], [y]]]), atol=1e-6)


def test_a_mirrored_face_is_turned_never_mirrored() -> None:
    points = np.array(TEMPLATE) * 100
    found = fit_similarity(points, points * [-1, 1])
    assert np.linalg.det(found[:, :2]) > 0


def test_chip_is_what_a_slow_loop_gives() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (60, 50, 3), dtype=np.uint8)
    angle, scale = 0.3, 0.8
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    landmarks = (np.array(TEMPLATE) * 24) @ linear.T + [14, 16]
    chip = align_face(picture, landmarks, spec())
    for row in range(24):
        for column in range(24):
            x, y = linear @ [column + 0.5, row + 0.5] + [14, 16] - 0.5
            x, y = min(max(x, 0), 49), min(max(y, 0), 59)
            left, top = int(x), int(y)
            right, bottom = min(left + 1, 49), min(top + 1, 59)
            across, down = x - left, y - top
            expected = (
                picture[top, left] * (1 - across) * (1 - down) + picture[top, right] * across * (1 - down)
                + picture[bottom, left] * (1 - across) * down + picture[bottom, right] * across * down
            )  # fmt: skip
            assert np.abs(chip.rgb[row, column] - expected).max() <= 0.51
    assert chip.magnification == pytest.approx(1 / scale)


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[:, ::2] = 255
    chip = align_face(stripes, np.array(TEMPLATE) * 330 + 20, spec(24))
    assert chip.rgb.astype(float).std() < 12


@pytest.mark.parametrize("landmarks", [np.full((5, 2), 7.0), np.full((5, 2), np.nan), np.array(TEMPLATE) * [np.inf, 1]])
def test_landmarks_that_place_nothing_are_refused(landmarks: np.ndarray) -> None:
    with pytest.raises(AlignmentFailed, match="landmarks"):
        align_face(np.zeros((20, 20, 3), np.uint8), landmarks, spec())


def test_input_has_the_cards_channels_and_range() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[..., 0] = 100
    chip = align_face(picture, np.array(TEMPLATE) * 24 + 5, spec())
    numbers = chip.to_input(spec())
    assert numbers.shape == (3, 24, 24)
    assert numbers.dtype == np.float32
    assert numbers[:, 12, 12].tolist() == [-0.5, -1.0, 48.5]
