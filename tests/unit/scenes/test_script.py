import math

import numpy as np
import pytest

from training.scenes import script
from training.scenes.motion import ACTIONS, SPEEDS_MPS


@pytest.fixture(scope="module")
def scenes(draw_scene):
    return [draw_scene(seed=seed, seconds=20.0, people=4, pushes=2) for seed in range(8)]


def test_acts_follow_one_another_without_gap_or_jump(scenes):
    for part in (part for scene in scenes for part in scene.parts):
        assert 1 <= len(part.acts) <= 7
        for act, following in zip(part.acts, part.acts[1:], strict=False):
            assert act.start_seconds < act.end_seconds == pytest.approx(following.start_seconds)
            # A fall leaves its person up to a body's length from where it began.
            assert math.dist(act.end_m, following.start_m) < (0.8 if act.action == "fall" else 1e-6)


def test_people_move_at_the_speed_of_their_action(scenes):
    for act in (act for scene in scenes for part in scene.parts for act in part.acts):
        speed = math.dist(act.start_m, act.end_m) / (act.end_seconds - act.start_seconds)
        assert speed == pytest.approx(SPEEDS_MPS.get(act.action, 0.0), rel=1e-3)


def test_a_shove_strikes_somebody_within_reach_of_a_push(scenes):
    shoved = [(scene, part, shove) for scene in scenes for part in scene.parts for shove in part.shoves]
    assert shoved
    for scene, part, (seconds, _) in shoved:
        victim = script.look_at(part, seconds)
        pushers = [script.look_at(other, seconds) for other in scene.parts if other is not part]
        assert any(p and p.action == "push" and math.dist(p.at_m, victim.at_m) < 1.2 for p in pushers)


def test_every_action_occurs(scenes):
    assert {act.action for scene in scenes for part in scene.parts for act in part.acts} == set(ACTIONS)


def test_bodies_move_smoothly_between_frames(scenes):
    for part in scenes[0].parts:
        last = None
        for seconds in np.arange(part.acts[0].start_seconds, part.acts[-1].end_seconds, 0.02):
            moment = script.look_at(part, float(seconds))
            if last is not None:
                assert abs(moment.pose.lean - last.pose.lean) < 0.2
                assert abs(moment.pose.left_knee - last.pose.left_knee) < 0.6
            last = moment
