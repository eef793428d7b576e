"""Exhibits: pictures of one event to hand over, in which nobody is to be seen but the one it is about."""

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from services.perception.frame import Picture
from services.reports.hiding import Rectangle, hide_all, hide_person
from services.reports.plate import BACKGROUND, Plate, draw_plate, rgb_of

FRAME_WIDTH_PX = 640
FACE_SIDE_PX = 224
_COLUMNS = 2
_GAP_PX = 8
# Around a person: a hand raised is part of a wave.
_CONTEXT = 0.15


def show_only(picture: Picture, box: Rectangle, others: Iterable[Rectangle]) -> Picture:
    """The picture with everything hidden but one person: also whom nobody detected.

    Args:
        picture: RGB, uint8, (H, W, 3).
        box: The person, in its pixels.
        others: Everyone else who was followed; hidden even where they stand before the person.

    Returns:
        A copy, as large.
    """
    height_px, width_px = picture.shape[:2]
    person = picture.copy()
    for other in others:
        hide_person(person, other)
    margin_px = _CONTEXT * max(box[2] - box[0], box[3] - box[1])
    left, top = (max(0, int(side - margin_px)) for side in box[:2])
    right, bottom = min(width_px, int(box[2] + margin_px) + 1), min(height_px, int(box[3] + margin_px) + 1)
    shown = picture.copy()
    hide_all(shown)
    shown[top:bottom, left:right] = person[top:bottom, left:right]
    return shown


def compose_sheet(face: Picture | None, frames: Sequence[Picture], lines: Sequence[str]) -> Picture:
    """One picture of all: the face and the words above, the frames below in order of time.

    Args:
        face: RGB, uint8, square; None where no face was seen.
        frames: All of one shape.
        lines: What there is to say, the most important first.
    """
    scale = FRAME_WIDTH_PX / frames[0].shape[1]
    height_px = round(frames[0].shape[0] * scale)
    rows = -(-len(frames) // _COLUMNS)
    sheet_width_px = _COLUMNS * FRAME_WIDTH_PX + (_COLUMNS + 1) * _GAP_PX
    head_px = FACE_SIDE_PX + 2 * _GAP_PX
    sheet = Image.new("RGB", (sheet_width_px, head_px + rows * (height_px + _GAP_PX)), rgb_of(BACKGROUND))
    left_px = _GAP_PX
    if face is not None:
        sheet.paste(Image.fromarray(face).resize((FACE_SIDE_PX, FACE_SIDE_PX)), (left_px, _GAP_PX))
        left_px += FACE_SIDE_PX + 2 * _GAP_PX
    words = draw_plate(Plate(tuple(lines), None, 22, longest_px=sheet_width_px - left_px - 4 * _GAP_PX))
    sheet.paste(Image.fromarray(words), (left_px, _GAP_PX))
    for index, frame in enumerate(frames):
        row, column = divmod(index, _COLUMNS)
        place = (_GAP_PX + column * (FRAME_WIDTH_PX + _GAP_PX), head_px + row * (height_px + _GAP_PX))
        sheet.paste(Image.fromarray(frame).resize((FRAME_WIDTH_PX, height_px)), place)
    return np.asarray(sheet)
