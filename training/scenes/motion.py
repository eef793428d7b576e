"""How each action moves a body: an action and a time in it become a pose."""

import math
from dataclasses import dataclass, fields
from typing import Literal

Action = Literal["stand", "walk", "run", "wave", "crouch", "fall", "push"]
ACTIONS: tuple[Action, ...] = ("stand", "walk", "run", "wave", "crouch", "fall", "push")
SPEEDS_MPS: dict[str, float] = {"walk": 1.25, "run": 3.1}

_STRIDES_M = {"walk": 1.35, "run": 2.3}
_FALL_SLIDE_M = -0.75
SHOVE_SECONDS = 1.25
"""One shove of a push: out, contact at `SHOVE_CONTACT_SECONDS`, back."""
SHOVE_CONTACT_SECONDS = 0.45
STAGGER_SECONDS = 1.1
RISE_SECONDS = 1.3
"""Time at the end of a fall or a crouch in which the person gets up; still part of that action."""


@dataclass(frozen=True, slots=True)
class Pose:
    """Angles of a body, radians; limbs are measured against the torso's frame, hanging down is 0.

    *flex* lifts a limb forwards, *abduct* sideways, away from the body. `tip` turns the whole body about the ground:
    forwards if positive. `slide` moves the root along the heading, metres; `bounce` lifts it.
    """

    lean: float = 0.04
    twist: float = 0.0
    tip: float = 0.0
    slide: float = 0.0
    bounce: float = 0.0
    nod: float = 0.0
    left_arm_flex: float = 0.05
    left_arm_abduct: float = 0.14
    left_forearm_flex: float = 0.25
    left_forearm_abduct: float = 0.08
    right_arm_flex: float = 0.05
    right_arm_abduct: float = 0.14
    right_forearm_flex: float = 0.25
    right_forearm_abduct: float = 0.08
    left_thigh_flex: float = 0.02
    left_knee: float = 0.04
    right_thigh_flex: float = 0.02
    right_knee: float = 0.04
    leg_abduct: float = 0.06


def blend(before: Pose, after: Pose, share: float) -> Pose:
    """Move `share` of the way from one pose to another, easing in and out."""
    eased = share * share * (3 - 2 * share)
    return Pose(
        *(getattr(before, f.name) + (getattr(after, f.name) - getattr(before, f.name)) * eased for f in fields(Pose))
    )


def pose_at(action: Action, seconds: float, duration_seconds: float, *, style: float, rises: bool = True) -> Pose:
    """Pose of someone doing an action.

    Args:
        action: What they do.
        seconds: Since it began.
        duration_seconds: Of the whole action.
        style: 0 to 1, constant for a person's action: which arm, which way they fall, their tempo.
        rises: For a fall: whether they get up before it ends.
    """
    if action in SPEEDS_MPS:
        return _gait(action, seconds, style)
    if action == "wave":
        return _wave(seconds, style)
    if action == "crouch":
        return _crouch(seconds, duration_seconds, style)
    if action == "fall":
        return _fall(seconds, duration_seconds, style, rises)
    if action == "push":
        return _push(seconds, style)
    sway = math.sin(seconds * 1.3 + 6 * style)
    look = 0.05 * math.sin(seconds * 0.7 + 9 * style)
    return Pose(lean=0.03 + 0.012 * sway, twist=0.04 * sway, nod=look, left_thigh_flex=0.02 + 0.01 * sway)


def _gait(action: str, seconds: float, style: float) -> Pose:
    turn = 2 * math.pi * (seconds * SPEEDS_MPS[action] / _STRIDES_M[action] + style)
    run = action == "run"

    def leg(phase: float) -> tuple[float, float]:
        phase %= 2 * math.pi
        bump = math.exp(-(((phase - 1.42 * math.pi) / (0.36 * math.pi)) ** 2))
        if run:
            return 0.20 + 0.58 * math.cos(phase), 0.30 + 1.35 * bump
        return 0.08 + 0.44 * math.cos(phase), 0.10 + 0.95 * bump

    left, right = leg(turn), leg(turn + math.pi)
    swing = math.cos(turn)
    reach = 0.75 if run else 0.40
    bent = 1.45 if run else 0.28
    return Pose(
        lean=0.20 if run else 0.06,
        twist=0.10 * swing,
        bounce=0.045 * abs(math.sin(turn)) if run else 0.0,
        nod=-0.10 if run else 0.0,
        left_arm_flex=-reach * swing,
        left_forearm_flex=bent - reach * swing,
        right_arm_flex=reach * swing,
        right_forearm_flex=bent + reach * swing,
        left_arm_abduct=0.20 if run else 0.12,
        right_arm_abduct=0.20 if run else 0.12,
        left_thigh_flex=left[0],
        left_knee=left[1],
        right_thigh_flex=right[0],
        right_knee=right[1],
        leg_abduct=0.03,
    )


def _wave(seconds: float, style: float) -> Pose:
    swing = math.sin(2 * math.pi * (1.3 + 0.5 * style) * seconds)
    arm, fore = 1.85 + 0.12 * swing, 2.95 + 0.55 * swing
    if style < 0.5:
        return Pose(right_arm_flex=0.2, right_arm_abduct=arm, right_forearm_flex=0.2, right_forearm_abduct=fore)
    return Pose(left_arm_flex=0.2, left_arm_abduct=arm, left_forearm_flex=0.2, left_forearm_abduct=fore)


def _crouch(seconds: float, duration_seconds: float, style: float) -> Pose:
    sway = 0.03 * math.sin(seconds * 2.0 + 7 * style)
    low = Pose(
        lean=0.62 + sway, nod=-0.35, slide=-0.12,
        left_arm_flex=0.75, left_forearm_flex=1.15 + sway, right_arm_flex=0.70, right_forearm_flex=1.10 - sway,
        left_thigh_flex=1.85, left_knee=2.30, right_thigh_flex=1.45, right_knee=2.40, leg_abduct=0.22,
    )  # fmt: skip
    rising = min(RISE_SECONDS * 0.6, duration_seconds / 4)
    share = min(seconds / 0.7, (duration_seconds - seconds) / rising, 1.0)
    return blend(Pose(), low, max(share, 0.0))


def _fall(seconds: float, duration_seconds: float, style: float, rises: bool) -> Pose:
    flail = 0.15 * math.sin(seconds * 5.0) * math.exp(-seconds)
    # Always onto the back, one knee up: the person detector finds few bodies that lie on their front or side.
    spread = 0.8 + 0.8 * style
    lying = Pose(
        tip=-1.40 + 0.12 * style, slide=_FALL_SLIDE_M, lean=0.22 + 0.25 * style, nod=0.15,
        left_arm_abduct=spread, left_forearm_abduct=spread - 0.2, right_arm_abduct=1.8 - spread * 0.6,
        right_forearm_abduct=1.9 - spread * 0.4, leg_abduct=0.18,
        left_thigh_flex=0.75 - 0.45 * style, left_knee=1.25 - 0.75 * style,
        right_thigh_flex=0.25 + 0.55 * style, right_knee=0.45 + 0.85 * style,
    )  # fmt: skip
    startled = Pose(
        lean=0.15, left_arm_flex=0.9, left_arm_abduct=0.9 + flail, left_forearm_abduct=1.2, right_arm_flex=0.8,
        right_arm_abduct=0.9 - flail, right_forearm_abduct=1.2, left_thigh_flex=0.35, left_knee=0.6, right_knee=0.3,
    )  # fmt: skip
    if seconds < 0.3:
        return blend(Pose(), startled, seconds / 0.3)
    if seconds < 0.95:
        return blend(startled, lying, ((seconds - 0.3) / 0.65) ** 1.4)
    left = duration_seconds - seconds
    if rises and left < RISE_SECONDS:
        kneeling = Pose(
            lean=0.75, slide=lying.slide, left_arm_flex=1.1, right_arm_flex=0.9, right_forearm_flex=1.2,
            left_thigh_flex=1.7, left_knee=2.1, right_thigh_flex=0.9, right_knee=2.2, leg_abduct=0.2,
        )  # fmt: skip
        half = RISE_SECONDS / 2
        if left > half:
            return blend(lying, kneeling, (RISE_SECONDS - left) / half)
        return blend(kneeling, Pose(slide=lying.slide), 1 - left / half)
    return lying


def fall_slide_m() -> float:
    """How far along the heading a fall leaves somebody."""
    return _FALL_SLIDE_M


def _push(seconds: float, style: float) -> Pose:
    phase = seconds % SHOVE_SECONDS
    drive = math.exp(-(((phase - SHOVE_CONTACT_SECONDS) / 0.20) ** 2))
    guard = 0.75
    forearm = 1.95 - 0.45 * drive
    arm = guard + 0.75 * drive
    inward = 0.02 + 0.05 * style
    return Pose(
        lean=0.08 + 0.34 * drive, slide=0.16 * drive, nod=0.05,
        left_arm_flex=arm, left_arm_abduct=inward, left_forearm_flex=forearm, left_forearm_abduct=0.0,
        right_arm_flex=arm, right_arm_abduct=inward, right_forearm_flex=forearm, right_forearm_abduct=0.0,
        left_thigh_flex=0.20 + 0.45 * drive, left_knee=0.20 + 0.40 * drive,
        right_thigh_flex=-0.15 - 0.30 * drive, right_knee=0.15,
    )  # fmt: skip


def stagger(pose: Pose, seconds: float) -> Pose:
    """Somebody's pose while they reel from a shove that struck them `seconds` ago."""
    if not 0.0 <= seconds < STAGGER_SECONDS:
        return pose
    share = min(seconds / 0.15, 1.0, (STAGGER_SECONDS - seconds) / 0.7)
    step = math.sin(seconds * 9.0) * math.exp(-seconds * 2.2)
    reeling = Pose(
        lean=-0.30, left_arm_flex=0.8, left_arm_abduct=0.7, left_forearm_flex=1.2, right_arm_flex=0.7,
        right_arm_abduct=0.8, right_forearm_flex=1.1, left_thigh_flex=0.45 * step, left_knee=0.5,
        right_thigh_flex=-0.45 * step, right_knee=0.3,
    )  # fmt: skip
    return blend(pose, reeling, share)
