"""Detect: pictures in, persons and faces out. Pre- and post-processing of the two detectors; no engine here."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import ModelCard
from services.perception.crop import Square, cut_square, resize
from services.perception.detection import Boxes, Detection, suppress_overlaps
from services.perception.frame import Picture

_PERSON_INPUT_PX = 300
_FACE_STRIDE_PX = 4
_FACE_MULTIPLE_PX = 32
_FACE_IOU = 0.3
# A person box that ends this near a region's inner edge, as a share of the region, was cut off by it.
_CUT_SHARE = 0.015

Region = tuple[int, int, int, int]
"""Left, top, right, bottom; whole pixels inside the picture."""


class Network(Protocol):
    """A detector made ready by an engine."""

    def run(self, inputs: Mapping[str, NDArray[Any]] | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Arrays by output name."""


class PersonDetector:
    """SSDLite pedestrians: a picture squeezed to 300×300.

    Source: MobileNetV2, arXiv:1801.04381 (SSDLite).
    """

    def __init__(self, network: Network, card: ModelCard) -> None:
        """Wrap a network that is ready; the card names it and its threshold."""
        assert card.minimum_confidence is not None
        self.card = card
        self.minimum_confidence = card.minimum_confidence
        self._network = network

    def detect(self, picture: Picture, regions: Sequence[Region], at_least: float) -> tuple[Boxes, NDArray[np.float32]]:
        """Look at regions of a picture.

        A body cut off by a region's edge inside the picture is left to the region that holds it whole.

        Args:
            picture: RGB, uint8, (H, W, 3).
            regions: Where to look; each is squeezed to the network's input.
            at_least: Confidence below which nothing is reported.

        Returns:
            Boxes (N, 4) in `picture` and confidences (N,); what overlapping regions saw twice is there twice.
        """
        found = [self._detect_in(picture, region, at_least) for region in regions]
        if not found:
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        return np.concatenate([boxes for boxes, _ in found]), np.concatenate([confidences for _, confidences in found])

    def _detect_in(self, picture: Picture, region: Region, at_least: float) -> tuple[Boxes, NDArray[np.float32]]:
        left, top, right, bottom = region
        squeezed = resize(picture[top:bottom, left:right], _PERSON_INPUT_PX, _PERSON_INPUT_PX)
        # One by one: the graph suppresses overlaps in a loop over the batch, and gains nothing from one.
        outputs = self._network.run(squeezed[None])
        shares = np.clip(outputs["detection_boxes:0"][0], 0, 1)
        confidences = outputs["detection_scores:0"][0]
        height_px, width_px = picture.shape[:2]
        inner = np.array([top > 0, left > 0, bottom < height_px, right < width_px])
        at_edge = np.concatenate([shares[:, :2] < _CUT_SHARE, shares[:, 2:] > 1 - _CUT_SHARE], axis=1)
        whole = ~(at_edge & inner).any(axis=1)
        solid = (shares[:, 2:] > shares[:, :2]).all(axis=1)
        kept = (confidences >= at_least) & whole & solid
        sides = np.array([right - left, bottom - top] * 2, np.float32)
        boxes = shares[kept][:, [1, 0, 3, 2]] * sides + np.array([left, top] * 2, np.float32)
        return boxes.astype(np.float32), confidences[kept].astype(np.float32)


class FaceDetector:
    """CenterFace: faces as points, with their size and five landmarks, at any resolution.

    Source: CenterFace, arXiv:1911.03599.
    """

    def __init__(self, network: Network, card: ModelCard) -> None:
        """Wrap a network that is ready; the card names it and its threshold."""
        assert card.minimum_confidence is not None
        self.card = card
        self.minimum_confidence = card.minimum_confidence
        self._network = network

    def detect(self, picture: Picture, longest_side_px: int) -> list[Detection]:
        """Look at a whole picture, shrunk to `longest_side_px` when it is larger.

        Args:
            picture: RGB, uint8, (H, W, 3).
            longest_side_px: Smaller is faster; faces below 20 px after shrinking are missed.

        Returns:
            Faces in pixels of `picture`, surest first.
        """
        height_px, width_px = picture.shape[:2]
        shrink = min(1.0, longest_side_px / max(height_px, width_px))
        scaled = resize(picture, max(1, round(width_px * shrink)), max(1, round(height_px * shrink)))
        padding = [(0, -side % _FACE_MULTIPLE_PX) for side in scaled.shape[:2]]
        padded = np.pad(scaled, (*padding, (0, 0)))
        (found,) = self._detect_batch(padded[None])
        scale = np.array([width_px / scaled.shape[1], height_px / scaled.shape[0]], np.float32)
        return [_placed(face, scale, np.zeros(2, np.float32)) for face in found]

    def detect_in_squares(self, picture: Picture, squares: Sequence[Square], side_px: int) -> list[list[Detection]]:
        """Look at squares of a picture, each scaled to `side_px`, small ones enlarged.

        Args:
            picture: RGB, uint8, (H, W, 3).
            squares: Where to look; may reach outside.
            side_px: A multiple of 32.

        Returns:
            For each square its faces, in pixels of `picture`, surest first.
        """
        if not squares:
            return []
        batch = np.stack([cut_square(picture, square, side_px) for square in squares])
        return [
            [
                _placed(face, np.full(2, square[2] / side_px, np.float32), np.array(square[:2], np.float32))
                for face in faces
            ]
            for square, faces in zip(squares, self._detect_batch(batch), strict=True)
        ]

    def _detect_batch(self, pictures: NDArray[np.uint8]) -> list[list[Detection]]:
        outputs = self._network.run(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32))
        heatmap_NHW = outputs["heatmap"][:, 0]
        return [
            self._read_maps(heatmap_HW, outputs["scale"][n], outputs["offset"][n], outputs["landmarks"][n])
            for n, heatmap_HW in enumerate(heatmap_NHW)
        ]

    def _read_maps(
        self,
        heatmap_HW: NDArray[np.float32],
        scale_2HW: NDArray[np.float32],
        offset_2HW: NDArray[np.float32],
        landmarks_10HW: NDArray[np.float32],
    ) -> list[Detection]:
        rows, columns = np.nonzero(heatmap_HW >= self.minimum_confidence)
        if not len(rows):
            return []
        confidences = heatmap_HW[rows, columns]
        sides = np.exp(scale_2HW[:, rows, columns]) * _FACE_STRIDE_PX
        height, width = sides
        top = (rows + offset_2HW[0, rows, columns] + 0.5) * _FACE_STRIDE_PX - height / 2
        left = (columns + offset_2HW[1, rows, columns] + 0.5) * _FACE_STRIDE_PX - width / 2
        boxes = np.stack([left, top, left + width, top + height], axis=1).astype(np.float32)
        shares_N52 = landmarks_10HW[:, rows, columns].T.reshape(-1, 5, 2)[..., ::-1]
        points_N52 = shares_N52 * np.stack([width, height], -1)[:, None] + boxes[:, None, :2]
        return [
            Detection("face", boxes[i], min(float(confidences[i]), 1.0), points_N52[i].astype(np.float32))
            for i in suppress_overlaps(boxes, confidences, _FACE_IOU)
        ]


def _placed(face: Detection, scale: NDArray[np.float32], corner: NDArray[np.float32]) -> Detection:
    """A detection in pixels of the picture that its own picture was cut from."""
    assert face.landmarks_px is not None
    return Detection(
        face.kind,
        (face.box_px.reshape(2, 2) * scale + corner).reshape(4),
        face.confidence,
        face.landmarks_px * scale + corner,
    )
