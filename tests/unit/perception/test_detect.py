"""Mapping between pictures, regions and the networks' own numbers; the networks are played by arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import Lineage, ModelCard, Weights
from services.perception.detect import FaceDetector, PersonDetector


def card(task: Any) -> ModelCard:
    return ModelCard(name="fake", version="1", task=task, description="", licence="CC0-1.0", minimum_confidence=0.4,
                     weights=Weights(file="none", sha256="0" * 64, size_bytes=1, format="onnx"),
                     lineage=Lineage(source="tests"))  # fmt: skip


class Says:
    def __init__(self, **outputs: NDArray[np.float32]) -> None:
        self._outputs = {name.replace("__", ":"): array for name, array in outputs.items()}
        self.inputs: Any = None

    def run(self, inputs: Any) -> dict[str, NDArray[Any]]:
        self.inputs = inputs
        return self._outputs


def persons(*boxes: tuple[float, float, float, float]) -> Says:
    return Says(detection_boxes__0=np.array([boxes], np.float32),
                detection_scores__0=np.full((1, len(boxes)), 0.9, np.float32))  # fmt: skip


def test_persons_are_placed_in_the_picture() -> None:
    network = persons((0.25, 0.5, 0.75, 0.6))
    boxes, confidences = PersonDetector(network, card("person_detection")).detect(
        np.zeros((720, 1280, 3), np.uint8), [(200, 100, 800, 500)], 0.2
    )
    np.testing.assert_allclose(boxes, [[500, 200, 560, 400]], atol=1e-3)
    assert confidences.tolist() == [np.float32(0.9)]
    assert network.inputs.shape == (1, 300, 300, 3)
    assert network.inputs.dtype == np.uint8


def test_a_person_cut_off_inside_the_picture_is_left_to_another_look() -> None:
    detector = PersonDetector(persons((0.2, 0.0, 0.8, 0.1), (0.2, 0.9, 0.8, 1.0)), card("person_detection"))
    # The region ends at the picture's left edge, where there is no more of anybody; not so on its right.
    boxes, _ = detector.detect(np.zeros((400, 800, 3), np.uint8), [(0, 0, 400, 400)], 0.2)
    np.testing.assert_allclose(boxes, [[0, 80, 40, 320]], atol=1e-3)


def face_maps(batch: int, side: int) -> Says:
    """One face of 32 px around (42, 50), eyes at a quarter of it."""
    maps = {name: np.zeros((batch, channels, side // 4, side // 4), np.float32)
            for name, channels in (("heatmap", 1), ("scale", 2), ("offset", 2), ("landmarks", 10))}  # fmt: skip
    maps["heatmap"][:, 0, 12, 10] = 0.8
    maps["heatmap"][:, 0, 12, 11] = 0.7
    maps["scale"][:, :, 12, 10:12] = np.log(8)
    maps["landmarks"][:, :, 12, 10:12] = np.array([0.25, 0.25, 0.25, 0.75, 0.5, 0.5, 0.75, 0.3, 0.75, 0.7])[:, None]
    return Says(**maps)


def test_faces_are_placed_in_the_picture_once() -> None:
    detector = FaceDetector(face_maps(1, 128), card("face_detection"))
    ((face,),) = detector.detect_in_squares(np.zeros((300, 300, 3), np.uint8), [(100, 20, 256)], 128)
    np.testing.assert_allclose(face.box_px, [100 + 52, 20 + 68, 100 + 116, 20 + 132], atol=1e-3)
    assert face.landmarks_px is not None
    np.testing.assert_allclose(face.landmarks_px[0], [100 + 68, 20 + 84], atol=1e-3)
    assert face.landmarks_px[1, 0] > face.landmarks_px[0, 0]


def test_a_whole_picture_is_shrunk_and_padded_to_what_the_network_takes() -> None:
    network = face_maps(1, 128)
    detector = FaceDetector(network, card("face_detection"))
    (face,) = detector.detect(np.zeros((200, 400, 3), np.uint8), 100)
    assert network.inputs.shape == (1, 3, 64, 128)
    np.testing.assert_allclose(face.box_px, [26 * 4, 34 * 4, 58 * 4, 66 * 4], atol=1e-3)
