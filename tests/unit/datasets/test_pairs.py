from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.contracts.action import Action, ActionSegment
from services.perception.track import Track
from training.datasets.manifests import ClipTruth
from training.datasets.pairs import MOMENTS, find_encounters, find_pushed_subject
from training.datasets.truth import PersonTruth
from training.metrics.events import Happening
from training.scenes.sets import SETS

ACTIONS = ("stand", "push")
TIMES = np.arange(50) / 10


def boxes(x_px):
    return np.tile(np.array([x_px - 20, 100, x_px + 20, 200], np.float32), (len(TIMES), 1))


def person(subject_id, x_px, *happenings):
    deeds = tuple(Happening("yard", subject_id, name, start, end) for name, start, end in happenings)
    return PersonTruth(subject_id, TIMES, boxes(x_px), deeds)


def track(track_id, x_px, seen=slice(None)):
    sure = np.ones(len(TIMES[seen]), np.float32)
    return Track(track_id, TIMES[seen], boxes(x_px)[seen], sure, sure > 0)


YARD = ClipTruth(
    Path("yard.mp4"),
    "0" * 64,
    (person("ada", 150, ("stand", 0, 5)), person("bo", 100, ("push", 1, 3)), person("cy", 40)),
)
PUSH = ActionSegment(track_id="t1", action=Action(name="push", probability=0.9), start_seconds=1.0, end_seconds=3.0)


def meet(tracks, push=PUSH):
    stand = ActionSegment(track_id="t2", action=Action(name="stand", probability=1), start_seconds=0, end_seconds=2)
    return find_encounters(YARD, tracks, [push, stand], ACTIONS, minimum_iou=0.5)


def test_whoever_pushes_is_cast_right_after_whom_they_push():
    found = 0
    for scene in (each for name in ("train", "heldout", "demo") for each in SETS[name].scenes()):
        people = tuple(
            replace(
                person(part.subject.subject_id, 0),
                happenings=tuple(
                    Happening("", "", act.action, act.start_seconds, act.end_seconds) for act in part.acts
                ),
            )
            for part in scene.parts
        )
        for part in scene.parts:
            for act in (each for each in part.acts if each.action == "push"):
                truth = ClipTruth(Path(""), "", people)
                name = find_pushed_subject(truth, part.subject.subject_id, act.start_seconds, act.end_seconds)
                (pushed,) = (other for other in scene.parts if other.subject.subject_id == name)
                found += 1
                # The script shoves them during that very push, and in that very direction.
                assert pushed.shoves
                for seconds, heading_rad in pushed.shoves:
                    assert act.start_seconds <= seconds <= act.end_seconds
                    assert heading_rad == act.heading_rad
    assert found == 71


def test_a_served_push_meets_everybody_followed_meanwhile():
    (met,) = meet([track("t1", 100), track("t2", 150), track("t3", 40), track("t4", 99, slice(40, 50))])
    assert (met.clip, met.others, met.real, met.right.tolist()) == ("yard", ("t2", "t3"), True, [True, False])
    assert met.features.shape == (2, MOMENTS, 7)
    assert met.seen.all()
    across, down, larger, overlap, speed, stands, pushes = met.features[0].T
    assert across == pytest.approx(0.5)
    assert np.abs([down, larger, overlap, speed, pushes]).max() == pytest.approx(0, abs=1e-6)
    assert stands.tolist() == [1.0] * (MOMENTS // 2) + [0.0] * (MOMENTS // 2)


def test_a_push_of_somebody_who_does_not_push_is_not_real_and_nobody_is_right():
    wrong = PUSH.model_copy(update={"start_seconds": 2.5, "end_seconds": 4.5})
    (met,) = meet([track("t1", 100), track("t2", 150)], wrong)
    assert (met.real, met.right.tolist()) == (False, [False])
    (met,) = meet([track("t1", 100), track("t3", 40)])
    assert (met.real, met.right.tolist()) == (True, [False])


def test_who_is_out_of_view_for_part_of_it_is_seen_for_the_rest():
    (met,) = meet([track("t1", 100), track("t2", 150, slice(0, 20))])
    assert met.seen[0].tolist() == [time < 2.15 for time in np.linspace(1, 3, MOMENTS, endpoint=False)]
    assert not met.features[0, ~met.seen[0]].any()
