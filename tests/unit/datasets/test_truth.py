import numpy as np
import pytest

from services.perception.track import Track
from training.datasets.truth import NOBODY, PersonTruth, commonest, match_track
from training.metrics.events import Happening

TIMES = np.arange(0, 4, 0.04)


def person(subject, left_px, times=TIMES):
    boxes = np.tile(np.array([left_px, 0, left_px + 50, 100], np.float32), (len(times), 1))
    happenings = (Happening("clip", subject, "stand", 0.0, 2.0), Happening("clip", subject, "run", 2.0, 4.0))
    return PersonTruth(subject, times, boxes, happenings)


def track(lefts_px, start_seconds=0.0):
    boxes = np.array([[left, 0, left + 50, 100] for left in lefts_px], np.float32)
    ones = np.ones(len(boxes))
    times = start_seconds + np.arange(len(boxes)) * 0.1
    return Track("t1", times, boxes, ones.astype(np.float32), ones.astype(bool))


def test_each_picture_shows_whom_its_box_overlaps_best():
    people = [person("ann", 0), person("bo", 100)]
    assert match_track(track([2, 5, 48, 96, 104]), people, minimum_iou=0.5) == ["ann", "ann", NOBODY, "bo", "bo"]


def test_nobody_is_shown_where_nobody_is():
    late = person("ann", 0, times=np.arange(2, 4, 0.04))
    assert match_track(track([0, 0], start_seconds=1.0), [late], minimum_iou=0.5) == [NOBODY, NOBODY]
    assert match_track(track([0, 0], start_seconds=2.5), [late], minimum_iou=0.5) == ["ann", "ann"]
    assert match_track(track([0]), [], minimum_iou=0.5) == [NOBODY]


@pytest.mark.parametrize(
    ("subjects", "expected"), [(["a", "a", "b"], "a"), (["a", "b", "c"], NOBODY), (["", "", "a"], NOBODY)]
)
def test_half_of_the_pictures_must_show_one_person(subjects, expected):
    assert commonest(subjects) == expected


def test_action_at_a_time_and_none_near_a_change():
    ann = person("ann", 0)
    assert ann.action_at(1.99) == "stand"
    assert ann.action_at(2.0) == "run"
    assert ann.action_at(2.05, margin_seconds=0.1) is None
    assert ann.action_at(4.0) is None
