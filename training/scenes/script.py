"""Who does what, where and when: plausible sequences of actions on a floor the camera sees."""

import math
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from training.scenes import motion
from training.scenes.motion import Action
from training.scenes.subject import Subject

Point = tuple[float, float]
_NEAR_M, _FAR_M = 4.9, 8.2
_HALF_SIGHT = 0.5
_TURN_SECONDS = 0.45
_SETTLE_SECONDS = 0.30
_PUSH_REACH_M = 0.86
_APART_M = 0.62
# People whose bearings from the camera differ by less stand behind one another; for how much of a clip they may.
_BEHIND_RAD = 0.075
_BEHIND_SHARE = 0.12


@dataclass(frozen=True, slots=True)
class Act:
    """One action of one person; `start_m` to `end_m` on the ground (x, z), at constant speed."""

    action: Action
    start_seconds: float
    end_seconds: float
    start_m: Point
    end_m: Point
    heading_rad: float
    style: float
    rises: bool = True


@dataclass(frozen=True, slots=True)
class Part:
    """What one subject does in a clip: acts that follow one another without a gap.

    Attributes:
        subject: Who.
        acts: In order.
        shoves: (seconds, heading_rad) of every shove received.
    """

    subject: Subject
    acts: tuple[Act, ...]
    shoves: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Moment:
    """A part at one time: the pose and where it stands."""

    pose: motion.Pose
    at_m: Point
    heading_rad: float
    gaze_rad: float
    action: Action


def _wrap(angle_rad: float) -> float:
    return (angle_rad + math.pi) % (2 * math.pi) - math.pi


def look_at(part: Part, seconds: float) -> Moment | None:
    """Where and how somebody is; None before their first act and after their last."""
    if not part.acts[0].start_seconds <= seconds < part.acts[-1].end_seconds:
        return None
    index = max(k for k, act in enumerate(part.acts) if act.start_seconds <= seconds)
    act = part.acts[index]
    into = seconds - act.start_seconds
    length = act.end_seconds - act.start_seconds
    pose = motion.pose_at(act.action, into, length, style=act.style, rises=act.rises)
    heading = act.heading_rad
    if index > 0:
        last = part.acts[index - 1]
        long = last.end_seconds - last.start_seconds
        if into < _SETTLE_SECONDS:
            left = motion.pose_at(last.action, long - 1e-6 + into, long + into, style=last.style, rises=last.rises)
            pose = motion.blend(replace(left, slide=0.0), pose, into / _SETTLE_SECONDS)
        if into < _TURN_SECONDS:
            share = into / _TURN_SECONDS
            share = share * share * (3 - 2 * share)
            heading = last.heading_rad + _wrap(heading - last.heading_rad) * share
    share = into / length
    at = [a + (b - a) * share for a, b in zip(act.start_m, act.end_m, strict=True)]
    for struck_seconds, push_rad in part.shoves:
        since = seconds - struck_seconds
        if act.action in ("stand", "fall") and 0 <= since < motion.STAGGER_SECONDS:
            # Whoever goes down stops reeling as the fall takes over.
            share = 1.0 if act.action == "stand" else max(0.0, 1 - into / 0.3)
            pose = motion.blend(pose, motion.stagger(pose, since), share)
            away = 0.22 * (1 - math.exp(-since * 9)) * math.exp(-((since / 0.6) ** 4))
            at = [at[0] + away * math.sin(push_rad), at[1] + away * math.cos(push_rad)]
    gaze = 0.0
    if act.action in ("stand", "wave", "crouch"):
        gaze = 0.6 * float(np.clip(_wrap(_to_camera(act.start_m) - heading), -0.7, 0.7))
        gaze += 0.14 * math.sin(seconds * 0.9 + act.style * 20)
    return Moment(pose, (at[0], at[1]), heading, gaze, act.action)


def _to_camera(at_m: Point) -> float:
    return math.atan2(-at_m[0], -at_m[1])


def _towards(start_m: Point, end_m: Point) -> float:
    return math.atan2(end_m[0] - start_m[0], end_m[1] - start_m[1])


def _step(at_m: Point, heading_rad: float, distance_m: float) -> Point:
    return (at_m[0] + distance_m * math.sin(heading_rad), at_m[1] + distance_m * math.cos(heading_rad))


@dataclass(frozen=True, slots=True)
class Direction:
    """What a script is drawn from.

    Attributes:
        seconds: Length of the clip.
        weights: Relative frequency of each action but push, which comes in by `pushes`.
        pushes: How many people push somebody.
        near_share: Share of stops made close to the camera.
        facing_share: Share of stops made facing it.
    """

    seconds: float
    weights: dict[Action, float]
    pushes: int
    near_share: float = 0.4
    facing_share: float = 0.7


class Playwright:
    """Draws parts one after another, so that nobody walks through anybody."""

    def __init__(self, direction: Direction, rng: np.random.Generator) -> None:
        self._direction = direction
        self._rng = rng

    def write(self, subjects: list[Subject]) -> tuple[Part, ...]:
        """Write a clip: one part a subject, in the order given."""
        parts: list[Part] = []
        pushers = min(self._direction.pushes, len(subjects) // 2)
        for pair in range(pushers):
            victim, pusher = subjects[2 * pair], subjects[2 * pair + 1]
            for _ in range(200):
                drawn = self._fight(victim, pusher)
                if drawn and self._apart([*parts, *drawn]):
                    break
            else:
                drawn = self._fight(victim, pusher, sure=True)
            parts.extend(drawn)
        for subject in subjects[2 * pushers :]:
            for _ in range(200):
                part = Part(subject, tuple(self._continue([], self._rng.uniform(0.0, 2.5), None)))
                if self._apart([*parts, part]):
                    break
            parts.append(part)
        return tuple(parts)

    def _apart(self, parts: list[Part]) -> bool:
        """Whether nobody walks through anybody, and nobody is hidden for long."""
        times = np.arange(0.0, self._direction.seconds, 0.2)
        behind: Counter[tuple[int, int]] = Counter()
        for seconds in times:
            moments = [look_at(part, float(seconds)) for part in parts]
            shown = {
                number: _step(m.at_m, m.heading_rad, m.pose.slide if m.action == "fall" else 0.0)
                for number, m in enumerate(moments)
                if m
            }
            for (one, one_m), (other, other_m) in combinations(shown.items(), 2):
                if math.dist(one_m, other_m) < _APART_M:
                    return False
                behind[one, other] += abs(_towards((0.0, 0.0), one_m) - _towards((0.0, 0.0), other_m)) < _BEHIND_RAD
        return max(behind.values(), default=0) <= _BEHIND_SHARE * len(times)

    def _spot(self, *, near: bool | None = None) -> Point:
        if near is None:
            near = bool(self._rng.random() < self._direction.near_share)
        z = float(self._rng.uniform(_NEAR_M, 5.5) if near else self._rng.uniform(5.5, _FAR_M))
        reach = 0.40 * z - 0.45
        return (float(self._rng.uniform(-reach, reach)), z)

    def _edge(self) -> Point:
        z = float(self._rng.uniform(_NEAR_M + 0.3, _FAR_M))
        return (float(self._rng.choice([-1.0, 1.0])) * (_HALF_SIGHT * z + 0.6), z)

    def _travel(self, action: Action, start_m: Point, end_m: Point, begin: float) -> Act:
        seconds = math.dist(start_m, end_m) / motion.SPEEDS_MPS[action]
        return Act(action, begin, begin + seconds, start_m, end_m, _towards(start_m, end_m), float(self._rng.random()))

    def _stop(self, action: Action, at_m: Point, begin: float, seconds: float, heading_rad: float | None = None) -> Act:
        if heading_rad is None:
            spread = 0.35 if self._rng.random() < self._direction.facing_share else math.pi
            if action == "wave":
                spread = min(spread, 0.7)
            heading_rad = _to_camera(at_m) + float(self._rng.uniform(-spread, spread))
        style = float(self._rng.random())
        if action == "fall":
            # Falls go across the picture: a body lying along the line of sight shows little of itself.
            heading_rad = float(self._rng.choice([-1.0, 1.0])) * math.pi / 2 + float(self._rng.uniform(-0.4, 0.4))
        return Act(action, begin, begin + seconds, at_m, at_m, heading_rad, style)

    def _continue(self, acts: list[Act], now: float, at_m: Point | None) -> list[Act]:
        """Add acts up to the end of the clip or until the person has left."""
        acts = list(acts)
        end = self._direction.seconds
        if at_m is None:
            if self._rng.random() < 0.5:
                action: Action = "run" if self._rng.random() < 0.4 else "walk"
                acts.append(self._travel(action, self._edge(), self._spot(), now))
                now, at_m = acts[-1].end_seconds, acts[-1].end_m
            else:
                now, at_m = 0.0, self._spot()
        while not acts or now < end - 1.0:
            if len(acts) >= 5:
                action = "run" if self._rng.random() < 0.5 else "walk"
                acts.append(self._travel(action, at_m, self._edge(), now))
                break
            act = self._draw(acts, now, at_m)
            if end - act.end_seconds < 2.0 and act.action not in motion.SPEEDS_MPS and end - now <= 7.0:
                act = replace(act, end_seconds=end, rises=act.action != "fall" or self._rng.random() < 0.4)
            acts.append(act)
            now, at_m = act.end_seconds, act.end_m
            if act.action == "fall":
                at_m = _step(at_m, act.heading_rad, motion.fall_slide_m())
        return acts

    def _draw(self, acts: list[Act], now: float, at_m: Point) -> Act:
        weights = dict(self._direction.weights)
        if acts:
            weights[acts[-1].action] = 0.0
        names = list(weights)
        odds = np.array([weights[name] for name in names])
        action = names[int(self._rng.choice(len(names), p=odds / odds.sum()))]
        if action in motion.SPEEDS_MPS:
            for _ in range(40):
                target = self._spot()
                seconds = math.dist(at_m, target) / motion.SPEEDS_MPS[action]
                if (1.3 if action == "run" else 2.0) <= seconds <= 5.5:
                    return self._travel(action, at_m, target, now)
            action = "stand" if not acts or acts[-1].action != "stand" else "wave"
        low, high = {"fall": (3.2, 4.4), "crouch": (3.2, 5.2)}.get(action, (3.0, 5.2))
        return self._stop(action, at_m, now, float(self._rng.uniform(low, high)))

    def _fight(self, victim: Subject, pusher: Subject, *, sure: bool = False) -> list[Part]:
        """Draw two parts in which one walks up to the other and shoves them a few times."""
        rng = self._rng
        shoves = int(rng.integers(2, 4))
        spot = self._spot(near=False)
        side = float(rng.choice([-1.0, 1.0]))
        from_rad = side * math.pi / 2 + float(rng.uniform(-0.35, 0.35))
        beside = _step(spot, from_rad, _PUSH_REACH_M)
        push_rad = _towards(beside, spot)
        action: Action = "run" if rng.random() < 0.35 else "walk"
        edge_x = side * (_HALF_SIGHT * beside[1] + 0.6)
        approach = self._travel(action, (edge_x, beside[1] + float(rng.uniform(-0.5, 0.5))), beside, 0.0)
        latest = self._direction.seconds - shoves * motion.SHOVE_SECONDS - 1.0
        begin = float(rng.uniform(min(2.2, latest), max(latest, 2.3) if not sure else 2.4))
        late = begin - approach.end_seconds
        if late < 0:
            approach = replace(
                approach,
                start_seconds=0.0,
                end_seconds=begin,
                start_m=_step(beside, from_rad, begin * motion.SPEEDS_MPS[action]),
            )
        else:
            approach = replace(approach, start_seconds=late, end_seconds=begin)
        stop = begin + shoves * motion.SHOVE_SECONDS
        push = Act("push", begin, stop, beside, beside, push_rad, float(rng.random()))
        contacts = [begin + k * motion.SHOVE_SECONDS + motion.SHOVE_CONTACT_SECONDS for k in range(shoves)]
        falls = bool(rng.random() < 0.5)
        facing = _wrap(push_rad + math.pi) + float(rng.uniform(-0.5, 0.5))
        stand_from = max(0.0, begin - float(rng.uniform(1.5, 3.0)))
        acts: list[Act] = []
        if stand_from > 1.5:
            walk: Action = "walk"
            came = self._spot()
            seconds = math.dist(came, spot) / motion.SPEEDS_MPS[walk]
            if not 1.5 <= seconds <= 5.5:
                return [] if not sure else self._fight(victim, pusher, sure=True)
            acts.append(replace(self._travel(walk, came, spot, stand_from - seconds)))
            first = acts[0].start_seconds
            if first < 0:
                return [] if not sure else self._fight(victim, pusher, sure=True)
            if 2.0 < first < 7:
                idle: Action = ("stand", "wave", "crouch")[int(rng.integers(3))]
                acts.insert(0, self._stop(idle, came, 0.0, first))
            elif first > 0:
                return [] if not sure else self._fight(victim, pusher, sure=True)
        else:
            stand_from = 0.0
        stood = contacts[-1] + 0.12 if falls else stop + 0.8
        acts.append(Act("stand", stand_from, stood, spot, spot, facing, float(rng.random())))
        now, at = stood, spot
        if falls and stood < self._direction.seconds - 1.5:
            fall = Act(
                "fall",
                stood,
                min(stood + float(rng.uniform(3.2, 4.4)), self._direction.seconds),
                spot,
                spot,
                facing,
                float(rng.random()),
            )
            acts.append(fall)
            now, at = fall.end_seconds, _step(spot, facing, motion.fall_slide_m())
        return [
            Part(victim, tuple(self._continue(acts, now, at)), tuple((seconds, push_rad) for seconds in contacts)),
            Part(pusher, tuple(self._continue([approach, push], stop, beside))),
        ]
