"""The named sets of clips and pictures, and who may appear in which.

Subjects are drawn from seeds, and the seeds of one side never occur on another.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.contracts.errors import BadUsage
from training.scenes.background import PLACES
from training.scenes.camera import Camera
from training.scenes.manifest import digest, write_clip, write_manifest
from training.scenes.motion import Action
from training.scenes.portrait import Light
from training.scenes.render import Scene
from training.scenes.script import Direction, Playwright
from training.scenes.still import STILLS_EACH, render_still
from training.scenes.subject import Subject, sample_subject

WEIGHTS: dict[Action, float] = {"stand": 0.6, "walk": 1.2, "run": 2.0, "wave": 1.3, "crouch": 0.9, "fall": 1.2}


def direct_scene(
    seed: int,
    subjects: list[Subject],
    *,
    seconds: float,
    fps: float,
    size_px: tuple[int, int],
    pushes: int,
    near_share: float = 0.4,
    facing_share: float = 0.7,
) -> Scene:
    """Draw a place, a camera, a light and a script for a cast.

    Args:
        seed: Everything not given follows from it.
        subjects: The cast; with a push, the first is shoved by the second.
        seconds: Length.
        fps: Frames per second.
        size_px: Width, height.
        pushes: How many pairs fight.
        near_share: Share of stops made close to the camera.
        facing_share: Share of stops made facing it.
    """
    rng = np.random.default_rng([seed, 0x5CE])
    width_px, height_px = size_px
    camera = Camera(
        width_px,
        height_px,
        focal_px=width_px * float(rng.uniform(0.96, 1.02)),
        height_m=float(rng.uniform(2.0, 2.35)),
        pitch_rad=math.radians(float(rng.uniform(9.5, 11.0))),
    )
    lamp = np.array([rng.uniform(-0.5, 0.5), rng.uniform(0.45, 0.75), 0.75])
    lamp /= np.linalg.norm(lamp)
    warm = float(rng.uniform(-0.07, 0.07))
    exposure = float(rng.uniform(0.86, 1.08))
    light = Light(
        (float(lamp[0]), float(lamp[1]), float(lamp[2])),
        key=0.84 * exposure,
        ambient=0.60 * exposure,
        tint=(1.0 + warm, 1.0, 1.0 - warm),
    )
    direction = Direction(seconds, WEIGHTS, pushes, near_share, facing_share)
    return Scene(
        seed=seed,
        camera=camera,
        place=PLACES[int(rng.integers(len(PLACES)))],
        light=light,
        noise_sigma=float(rng.uniform(1.0, 2.6)),
        blur_px=float(rng.uniform(0.5, 0.8)) * width_px / 1280,
        parts=Playwright(direction, rng).write(subjects),
        seconds=seconds,
        fps=fps,
    )


@dataclass(frozen=True, slots=True)
class ClipSet:
    """Clips of one purpose.

    Attributes:
        name: Its folder.
        casts: Subject seeds of each clip.
        seeds: Scene seed of each clip.
        size_px: Width, height.
        fps: Frames per second.
        seconds: Length of each clip.
        near_share: Share of stops made close to the camera.
        facing_share: Share of stops made facing it.
    """

    name: str
    casts: tuple[tuple[int, ...], ...]
    seeds: tuple[int, ...]
    size_px: tuple[int, int]
    fps: float
    seconds: float = 20.0
    near_share: float = 0.3
    facing_share: float = 0.6

    def scenes(self) -> Iterator[Scene]:
        """Direct every clip; every other one has a fight in it, large casts always do."""
        for seed, cast in zip(self.seeds, self.casts, strict=True):
            yield direct_scene(
                seed,
                [sample_subject(number) for number in cast],
                seconds=self.seconds,
                fps=self.fps,
                size_px=self.size_px,
                pushes=len(cast) // 2 if self.name == "train" else int(len(cast) > 2),
                near_share=self.near_share,
                facing_share=self.facing_share,
            )


# Of the subjects from seed 9000 on, those whose faces dlib's network tells apart best: drawn faces are more alike to it
# than photographs of people. Enrolled among one another stay below 0.94; no stranger's stills from across the hall
# come nearer than 0.93 to those of anyone enrolled.
ENROLLED: tuple[int, ...] = (9041, 9052, 9154, 9095)
STRANGERS: tuple[int, ...] = (9039, 9092, 9059, 9005)

TRAIN = ClipSet(
    "train",
    casts=tuple(tuple(range(1000 + 4 * k, 1000 + 4 * k + 3 + k % 2)) for k in range(44)),
    seeds=tuple(range(400, 444)),
    size_px=(640, 360),
    fps=12.5,
    near_share=0.6,
    facing_share=0.75,
)
HELDOUT = ClipSet(
    "heldout",
    casts=(
        (ENROLLED[0], ENROLLED[1], STRANGERS[0]),
        (ENROLLED[2], ENROLLED[3]),
        (STRANGERS[1], ENROLLED[0], ENROLLED[2], ENROLLED[3]),
        (ENROLLED[1], ENROLLED[3], STRANGERS[2]),
        (STRANGERS[0], ENROLLED[2], ENROLLED[0]),
        (ENROLLED[3], STRANGERS[1]),
    ),
    seeds=(1010, 1011, 1012, 1013, 1014, 1015),
    size_px=(1280, 720),
    fps=25.0,
    near_share=0.9,
    facing_share=0.95,
)
DEMO = ClipSet(
    "demo",
    casts=((ENROLLED[1], ENROLLED[3], STRANGERS[3]),),
    seeds=(300,),
    size_px=(1280, 720),
    fps=25.0,
    near_share=0.9,
    facing_share=0.95,
)
SETS: dict[str, ClipSet] = {clip_set.name: clip_set for clip_set in (TRAIN, HELDOUT, DEMO)}
ENROLMENT = "enrolment"


def write_set(name: str, folder: Path, *, report: Callable[[str], None] = lambda _: None) -> Path:
    """Render a named set into a folder.

    Args:
        name: One of `SETS`, or `ENROLMENT` for pictures of the enrolled subjects.
        folder: Made if absent.
        report: Told each file written.

    Returns:
        The manifest's path.

    Raises:
        BadUsage: No such set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if name == ENROLMENT:
        stills = []
        for seed in ENROLLED:
            subject = sample_subject(seed)
            (folder / subject.subject_id).mkdir(exist_ok=True)
            for take in range(STILLS_EACH):
                path = folder / subject.subject_id / f"{take}.jpg"
                render_still(subject, take).save(path, quality=92)
                stills.append(
                    {
                        "file": path.relative_to(folder).as_posix(),
                        "sha256": digest(path),
                        "subject_id": subject.subject_id,
                    }
                )
                report(str(path))
        return write_manifest(folder, name, [], stills)
    if name not in SETS:
        raise BadUsage(f"no set is called {name!r}: choose from {', '.join([*SETS, ENROLMENT])}")
    clips = []
    for number, scene in enumerate(SETS[name].scenes()):
        path = folder / f"{name}-{number:02d}.mp4"
        clips.append(write_clip(scene, path))
        report(str(path))
    return write_manifest(folder, name, clips)
