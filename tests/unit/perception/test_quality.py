import math

import numpy as np
import pytest
from PIL import Image, ImageFilter

from services.perception.quality import estimate_pose, rate_face

FRONTAL = np.array([[-16, 0], [16, 0], [0, 19], [-12, 34], [12, 34]], np.float32)


def drawn_face(blur_px: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(60, 220, (24, 24, 3), dtype=np.uint8)).resize((96, 96))
    return np.asarray(coarse.filter(ImageFilter.GaussianBlur(blur_px)))


BOX = np.array([8, 8, 88, 88], np.float32)


def test_a_frontal_face_looks_ahead() -> None:
    yaw, pitch = estimate_pose(FRONTAL)
    assert abs(yaw) < 0.02
    assert abs(pitch) < 0.1


@pytest.mark.parametrize("roll", [-0.5, 0.0, 0.8])
def test_a_turned_face_shows_yaw_whatever_its_roll(roll: float) -> None:
    turned = FRONTAL.copy()
    turned[2, 0] = 9
    rotation = np.array([[math.cos(roll), math.sin(roll)], [-math.sin(roll), math.cos(roll)]])
    yaw, _ = estimate_pose((turned @ rotation).astype(np.float32))
    assert 0.3 < yaw < 0.8


def test_blur_darkness_distance_and_turning_each_lower_quality() -> None:
    landmarks = FRONTAL + 40
    best = rate_face(drawn_face(), BOX, landmarks, 0.9)
    assert best.overall > 0.8
    assert rate_face(drawn_face(4), BOX, landmarks, 0.9).sharpness < 0.5 * best.sharpness
    assert rate_face(drawn_face() // 30, BOX, landmarks, 0.9).sharpness < 0.6 * best.sharpness
    assert rate_face(drawn_face(), BOX, FRONTAL * 0.3 + 40, 0.9).size < 0.5 * best.size
    turned = landmarks.copy()
    turned[2, 0] += 14
    assert rate_face(drawn_face(), BOX, turned, 0.9).pose < 0.5 * best.pose
    assert rate_face(drawn_face(), BOX, landmarks, 0.3).overall < best.overall
