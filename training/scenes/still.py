"""Enrolment pictures: a subject, head and shoulders, in several poses and lights."""

import math

import numpy as np
from PIL import Image

from training.scenes.camera import Camera
from training.scenes.portrait import Light
from training.scenes.render import Scene, render_frames
from training.scenes.script import Act, Part
from training.scenes.subject import Subject

_TURNS_RAD = (0.0, 0.32, -0.32, 0.12)
_DISTANCE_M = 2.6


def render_still(subject: Subject, take: int, *, side_px: int = 480) -> Image.Image:
    """Photograph a subject.

    Args:
        subject: Who.
        take: 0 looks into the lens, 1 and 2 turn to either side, 3 nearly ahead under another light, then over again.
        side_px: Width and height of the picture.

    Returns:
        An RGB picture.
    """
    rng = np.random.default_rng([subject.seed, take, 0x571])
    eyes_m = 0.93 * subject.height_m
    camera = Camera(side_px, side_px, focal_px=side_px * 4.0, height_m=eyes_m + 0.15, pitch_rad=0.09)
    lamp = np.array([rng.uniform(-0.5, 0.5), rng.uniform(0.4, 0.7), 0.8])
    lamp /= np.linalg.norm(lamp)
    warm = float(rng.uniform(-0.04, 0.04))
    light = Light((float(lamp[0]), float(lamp[1]), float(lamp[2])), 0.84, 0.60, (1 + warm, 1.0, 1 - warm))
    turn = _TURNS_RAD[take % len(_TURNS_RAD)] / 0.4
    act = Act("stand", 0.0, 1.0, (0.0, _DISTANCE_M), (0.0, _DISTANCE_M), math.pi + turn, 0.0)
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
