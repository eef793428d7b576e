"""Heads: whose face a face is, and where the body of a lone face must be."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.perception.detection import Boxes, Detection

# A face without a body begins a person only when it is this sure.
LONE_FACE_CONFIDENCE = 0.6
# Where a standing person's face is, as a share of their box's height below its top, and how far from it a face
# may be, in shares of the box: people stoop, and boxes are loose.
_FACE_DEPTH = 0.1
_REACH_ACROSS, _REACH_DOWN = 0.55, 0.45
# Two people for whom a face fits about as well: it is attached to neither, since a face names its person.
_CLEAR_GAP = 0.2
# A face's box to the body's, standing.
_BODY_WIDTH, _BODY_HEIGHT, _ABOVE_FACE = 3.2, 8.5, 0.4


def attach_faces(faces: Sequence[Detection], people: Mapping[int, NDArray[np.float32]]) -> dict[int, Detection]:
    """Give each face to the person it belongs to, and no person two.

    Args:
        faces: In one picture.
        people: Boxes by number, in the same picture.

    Returns:
        Face by number. A face that fits two people equally well is given to neither.
    """
    if not faces or not people:
        return {}
    numbers = list(people)
    misfits = np.array([[_misfit(face, people[number]) for number in numbers] for face in faces])
    rows, columns = linear_sum_assignment(np.where(np.isfinite(misfits), misfits, 1e3))
    attached = {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        others = np.delete(misfits[row], column)
        if np.isfinite(misfits[row, column]) and others.min(initial=np.inf) - misfits[row, column] > _CLEAR_GAP:
            attached[numbers[column]] = faces[row]
    return attached


def infer_bodies(faces: Sequence[Detection], bodies: Boxes, width_px: int, height_px: int) -> list[Detection]:
    """Persons for sure faces that lie in no person's box: a close-up, or a body hidden behind something.

    Args:
        faces: In one picture.
        bodies: (N, 4), persons detected in it.
        width_px: Of the picture.
        height_px: Of the picture.

    Returns:
        Persons as they would stand below their faces, cut off at the picture's edges.
    """
    persons = []
    for face in faces:
        left, top, right, bottom = (float(edge) for edge in face.box_px)
        x, y = (left + right) / 2, (top + bottom) / 2
        owned = (bodies[:, 0] < x) & (x < bodies[:, 2]) & (bodies[:, 1] < y) & (y < bodies[:, 3])
        if face.confidence < LONE_FACE_CONFIDENCE or owned.any():
            continue
        reach, height = _BODY_WIDTH * (right - left) / 2, bottom - top
        box = np.array(
            [x - reach, top - _ABOVE_FACE * height, x + reach, top + (_BODY_HEIGHT - _ABOVE_FACE) * height], np.float32
        )
        box = np.clip(box, 0, np.array([width_px, height_px] * 2, np.float32))
        if box[2] - box[0] > 2 and box[3] - box[1] > 2:
            persons.append(Detection("person", box, face.confidence))
    return persons


def _misfit(face: Detection, body: NDArray[np.float32]) -> float:
    """Distance of a face from where the body's should be, in reaches: 0 fits, 1 just fits, else infinite."""
    width, height = body[2] - body[0], body[3] - body[1]
    across = ((face.box_px[0] + face.box_px[2]) - (body[0] + body[2])) / 2 / (_REACH_ACROSS * width)
    depth = (face.box_px[1] + face.box_px[3]) / 2 - body[1] - _FACE_DEPTH * height
    # A body cut off by the picture's lower edge looks short: its face may be deep in it.
    down = depth / (_REACH_DOWN * height)
    misfit = float(np.hypot(across, down))
    return misfit if misfit <= 1 and face.box_px[2] - face.box_px[0] <= width else np.inf
