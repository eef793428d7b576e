"""Enrolment pictures: a subject in several poses and lights, close by and as a camera in a hall sees them."""

import math

import numpy as np
from PIL import Image

from training.scenes.camera import Camera
from training.scenes.portrait import Light
from training.scenes.render import Scene, render_frames
from training.scenes.script import Act, Part
from training.scenes.subject import Subject

_TURNS_RAD = (0.0, 0.32, -0.32, 0.12)
STILLS_EACH = 2 * len(_TURNS_RAD)
_NEAR_M, _FAR_M = 2.6, 5.2
# A lens for portraits, and the one of the clips' cameras, in widths of a picture of 480 px.
_LONG_LENS, _WIDE_LENS = 4.0, 2.67
_CEILING_M = 2.15


def render_still(subject: Subject, take: int, *, side_px: int = 480) -> Image.Image:
    """Photograph a subject.

    Args:
        subject: Who.
        take: 0 looks into the lens, 1 and 2 turn to either side, 3 nearly ahead under another light; 4 to 7 the same
            from across a hall and from above, with faces as small as they are in a clip.
        side_px: Width and height of the picture.

    Returns:
        An RGB picture.
    """
    rng = np.random.default_rng([subject.seed, take, 0x571])
    far = take >= len(_TURNS_RAD)
    distance_m = _FAR_M if far else _NEAR_M
    if far:
        drop_m = _CEILING_M - 0.8 * subject.height_m
        camera = Camera(side_px, side_px, side_px * _WIDE_LENS, _CEILING_M, math.atan2(drop_m, distance_m))
    else:
        camera = Camera(side_px, side_px, side_px * _LONG_LENS, 0.93 * subject.height_m + 0.15, pitch_rad=0.09)
    lamp = np.array([rng.uniform(-0.5, 0.5), rng.uniform(0.4, 0.7), 0.8])
    lamp /= np.linalg.norm(lamp)
    warm = float(rng.uniform(-0.04, 0.04))
    light = Light((float(lamp[0]), float(lamp[1]), float(lamp[2])), 0.84, 0.60, (1 + warm, 1.0, 1 - warm))
    turn = _TURNS_RAD[take % len(_TURNS_RAD)] / 0.4
    act = Act("stand", 0.0, 1.0, (0.0, distance_m), (0.0, distance_m), math.pi + turn, 0.0)
    scene = Scene(
        seed=subject.seed * 10 + take,
        camera=camera,
        place="hall",
        light=light,
        noise_sigma=1.0,
        blur_px=0.6,
        parts=(Part(subject, (act,)),),
        seconds=1.0,
        fps=1.0,
    )
    return Image.fromarray(next(render_frames(scene)).rgb)
