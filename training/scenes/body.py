"""A subject's body: bones placed by a pose, limbs drawn around them."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.scenes.motion import Pose
from training.scenes.solid import Canvas
from training.scenes.subject import Subject

Floats = NDArray[np.float64]

SKIN, TOP, ACCENT, TROUSERS, SHOES = range(5)
HEAD_SHARE = 0.137
"""Crown to chin as a share of stature."""


def palette(subject: Subject) -> Floats:
    """Reflectances by material: (5, 3)."""
    return np.array([subject.skin, subject.top, subject.top_accent, subject.trousers, subject.shoes])


@dataclass(frozen=True, slots=True)
class Skeleton:
    """Joints in world metres, and the directions needed to draw flesh on them.

    Attributes:
        joints: Name to (3,) metres.
        torso: (3, 3) columns: the torso's left-to-right, up and forward axes.
        head: (3, 3) columns: the head's, likewise.
    """

    joints: dict[str, Floats]
    torso: Floats
    head: Floats


def _turn(axis: int, angle: float) -> Floats:
    cos, sin = math.cos(angle), math.sin(angle)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = cos
    matrix[i, j], matrix[j, i] = -sin, sin
    return matrix


def _limb(flex: float, abduct: float, side: float) -> Floats:
    return np.array([side * math.sin(abduct) * math.cos(flex), -math.cos(abduct) * math.cos(flex), math.sin(flex)])


def place_bones(
    subject: Subject, pose: Pose, *, at_m: tuple[float, float], heading_rad: float, gaze_rad: float = 0.0
) -> Skeleton:
    """Stand a body on the ground.

    Args:
        subject: Gives the proportions.
        pose: Joint angles.
        at_m: Ground position x, z.
        heading_rad: 0 looks away from the camera along z; pi looks back at it; positive turns to x.
        gaze_rad: Turn of the head against the torso.
    """
    tall = subject.height_m
    shoulder = tall * (0.106 - 0.008 * subject.femininity + 0.006 * subject.build)
    hip = 0.052 * tall
    # Body axes: x the body's own right as it faces away, y up, z forward.
    root = _turn(1, heading_rad) @ _turn(0, pose.tip)
    torso = root @ _turn(1, pose.twist) @ _turn(0, pose.lean)
    joints: dict[str, Floats] = {"pelvis": np.zeros(3)}
    joints["waist"] = torso @ np.array([0, 0.09 * tall, 0])
    joints["chest"] = torso @ np.array([0, 0.20 * tall, 0.0])
    joints["neck"] = torso @ np.array([0, 0.305 * tall, -0.005 * tall])
    # Whoever leans forward still looks ahead; whoever lies does not.
    level = -pose.lean * 0.9
    head = torso @ _turn(1, gaze_rad) @ _turn(0, level - pose.nod)
    joints["skull"] = (
        joints["neck"]
        + torso @ np.array([0, 0.030 * tall, 0.01 * tall])
        + head @ np.array([0, 0.062 * tall, 0.012 * tall])
    )
    for name, side in (("left", -1.0), ("right", 1.0)):
        arm = _limb(getattr(pose, f"{name}_arm_flex"), getattr(pose, f"{name}_arm_abduct"), side)
        forearm = _limb(getattr(pose, f"{name}_forearm_flex"), getattr(pose, f"{name}_forearm_abduct"), side)
        joints[f"{name}_shoulder"] = torso @ np.array([side * shoulder, 0.275 * tall, 0.0])
        joints[f"{name}_elbow"] = joints[f"{name}_shoulder"] + torso @ arm * (0.168 * tall)
        joints[f"{name}_wrist"] = joints[f"{name}_elbow"] + torso @ forearm * (0.140 * tall)
        joints[f"{name}_hand"] = joints[f"{name}_wrist"] + torso @ forearm * (0.060 * tall)
        thigh_flex, knee = getattr(pose, f"{name}_thigh_flex"), getattr(pose, f"{name}_knee")
        joints[f"{name}_hip"] = root @ np.array([side * hip, -0.025 * tall, 0.0])
        joints[f"{name}_knee"] = joints[f"{name}_hip"] + root @ _limb(thigh_flex, pose.leg_abduct, side) * (
            0.242 * tall
        )
        shin = root @ _limb(thigh_flex - knee, pose.leg_abduct * 0.4, side)
        joints[f"{name}_ankle"] = joints[f"{name}_knee"] + shin * (0.235 * tall)
        toe = root @ _limb(thigh_flex - knee + math.pi / 2 - 0.12, 0.0, side)
        joints[f"{name}_heel"] = joints[f"{name}_ankle"] + shin * (0.022 * tall) - toe * (0.022 * tall)
        joints[f"{name}_toe"] = joints[f"{name}_heel"] + toe * (0.105 * tall)
    lowest = min(float(point[1]) - _CLEARANCE.get(name, 0.02) * tall for name, point in joints.items())
    forward = np.array([math.sin(heading_rad), 0.0, math.cos(heading_rad)])
    shift = np.array([at_m[0], pose.bounce - lowest, at_m[1]]) + forward * pose.slide
    return Skeleton({name: point + shift for name, point in joints.items()}, torso, head)


# How much flesh lies under each joint, share of stature.
_CLEARANCE = {"skull": 0.055, "pelvis": 0.06, "chest": 0.06, "waist": 0.055, "neck": 0.03}


def draw_body(canvas: Canvas, subject: Subject, skeleton: Skeleton, project: "Projector") -> None:
    """Draw everything but the head.

    Args:
        canvas: Drawn upon.
        subject: Gives girth and clothes.
        skeleton: From `place_bones`.
        project: World metres to canvas space.
    """
    tall = subject.height_m
    girth = 1 + 0.13 * subject.build
    unit = tall * project.scale
    at = {name: project(point) for name, point in skeleton.joints.items()}
    forward = project.direction(skeleton.torso[:, 2])
    up = project.direction(skeleton.torso[:, 1])
    wide = 1 - 0.10 * subject.femininity

    for name in ("left", "right"):
        cloth = ACCENT if subject.two_tone else TOP
        sleeve = cloth if subject.long_sleeves else SKIN
        shoulder, elbow, wrist, hand = (at[f"{name}_{joint}"] for joint in ("shoulder", "elbow", "wrist", "hand"))
        canvas.add_limb(shoulder, elbow, 0.036 * unit * girth, 0.029 * unit * girth, sleeve)
        if not subject.long_sleeves:
            canvas.add_limb(
                shoulder, shoulder + (elbow - shoulder) * 0.6, 0.039 * unit * girth, 0.037 * unit * girth, cloth
            )
        canvas.add_limb(elbow, wrist, 0.029 * unit * girth, 0.020 * unit, sleeve, open_start=True)
        canvas.add_limb(wrist, hand, 0.018 * unit, 0.021 * unit, SKIN, open_start=True)
        hip, knee, ankle, heel, toe = (at[f"{name}_{joint}"] for joint in ("hip", "knee", "ankle", "heel", "toe"))
        canvas.add_limb(hip, knee, 0.053 * unit * girth, 0.041 * unit, TROUSERS)
        canvas.add_limb(knee, ankle, 0.041 * unit, 0.030 * unit, TROUSERS, open_start=True)
        canvas.add_limb(heel, toe, 0.024 * unit, 0.019 * unit, SHOES)
    hips = 0.086 * (0.97 + 0.08 * subject.femininity) * girth
    stout = 0.80 + 0.08 * max(subject.build, 0)
    hem = at["pelvis"] - up * (0.028 * unit)
    canvas.add_limb(
        hem, at["waist"], hips * 1.12 * unit, 0.078 * unit * girth, TOP, thin=forward, thinness=stout, open_start=True
    )
    canvas.add_limb(
        at["waist"], at["chest"], 0.078 * unit * girth, 0.096 * unit * girth * wide, TOP, thin=forward, thinness=0.80
    )
    top = at["neck"] - up * (0.045 * unit)
    canvas.add_limb(
        at["chest"], top, 0.096 * unit * girth * wide, 0.078 * unit * wide, TOP, thin=forward, thinness=0.76
    )
    inset = 0.30
    left, right = (
        at[f"{n}_shoulder"] + (at["neck"] - up * 0.03 * unit - at[f"{n}_shoulder"]) * inset for n in ("left", "right")
    )
    canvas.add_limb(left, right, 0.036 * unit, 0.036 * unit, TOP)
    for name in ("left", "right"):
        canvas.add_limb(at[f"{name}_shoulder"], at["neck"], 0.032 * unit, 0.026 * unit, TOP)
    canvas.add_limb(
        at["pelvis"], hem - up * (0.025 * unit), hips * unit, 0.055 * unit, TROUSERS, thin=forward, thinness=stout
    )
    canvas.add_limb(at["neck"] - up * 0.01 * unit, at["skull"] - up * 0.03 * unit, 0.034 * unit, 0.031 * unit, SKIN)


@dataclass(frozen=True, slots=True)
class Projector:
    """World metres to one canvas, weak perspective around one person.

    Attributes:
        axes: (3, 3) rows right, up, towards the camera.
        anchor_m: World point that lands on `anchor_px`.
        anchor_px: (2,) canvas pixels.
        scale: Pixels per metre.
    """

    axes: Floats
    anchor_m: Floats
    anchor_px: Floats
    scale: float

    def direction(self, vector: Floats) -> Floats:
        """Turn a world direction into canvas axes."""
        seen = self.axes @ vector
        return np.array([seen[0], -seen[1], seen[2]])

    def __call__(self, point_m: Floats) -> Floats:
        """(3,) world metres to (3,) canvas pixels."""
        seen = self.direction(point_m - self.anchor_m) * self.scale
        seen[:2] += self.anchor_px
        return seen
