import numpy as np

from services.perception.detection import Detection
from services.perception.heads import attach_faces, infer_bodies


def face(x: float, y: float, side: float = 20, confidence: float = 0.9) -> Detection:
    box = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2], np.float32)
    return Detection("face", box, confidence, np.tile([x, y], (5, 1)).astype(np.float32))


def body(x: float, top: float = 100) -> np.ndarray:
    return np.array([x - 40, top, x + 40, top + 200], np.float32)


def test_each_face_goes_to_its_person() -> None:
    left, right = face(100, 120), face(300, 118)
    assert attach_faces([right, left], {1: body(100), 2: body(300)}) == {1: left, 2: right}


def test_a_face_between_two_heads_goes_to_neither() -> None:
    assert attach_faces([face(130, 120)], {1: body(115), 2: body(145)}) == {}


def test_a_face_at_somebodys_feet_is_not_theirs() -> None:
    assert attach_faces([face(100, 280)], {1: body(100)}) == {}


def test_a_sure_face_without_a_body_gets_one_inside_the_picture() -> None:
    (person,) = infer_bodies([face(200, 100, 40)], np.zeros((0, 4), np.float32), 400, 300)
    left, top, right, bottom = person.box_px
    assert left < 180
    assert right > 220
    assert top < 80
    assert bottom == 300


def test_an_unsure_face_or_one_in_a_body_gets_none() -> None:
    bodies = body(200)[None]
    assert infer_bodies([face(200, 130), face(350, 130, confidence=0.5)], bodies, 400, 300) == []
