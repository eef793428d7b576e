import numpy as np
import pytest

from services.action.behaviours import find_rule_behaviours
from services.contracts.action import Action, ActionSegment
from services.perception.track import Track

RATE_HZ = 5.0


def person(x_px, *, track_id="t1", start_seconds=0.0, wide=False, every=1):
    """A body 100 px long, its middle at these places, five times a second; every so many pictures detected."""
    x = np.asarray(x_px, np.float32)
    half_width, half_height = (np.where(wide, 50, 20), np.where(wide, 20, 50))
    boxes = np.stack([x - half_width, 100 - half_height + 0 * x, x + half_width, 100 + half_height + 0 * x], axis=1)
    times = start_seconds + np.arange(len(x)) / RATE_HZ
    detected = np.arange(len(x)) % every == 0
    return Track(track_id, times, boxes.astype(np.float32), detected.astype(np.float32), detected)


def deed(name, start, end, track_id="t1", probability=0.8):
    action = Action(name=name, probability=probability)
    return ActionSegment(track_id=track_id, action=action, start_seconds=start, end_seconds=end)


def said(found):
    return [(each.track_id, each.action.name, each.start_seconds, each.end_seconds) for each in found]


def pace(seconds, reach_px):
    """To and fro."""
    return reach_px / 2 * np.sin(np.arange(round(seconds * RATE_HZ)) / 7)


def test_who_stays_in_a_place_for_half_a_minute_loiters():
    assert said(find_rule_behaviours([person(pace(40, 250))], [])) == [("t1", "loiter", 0.0, 39.8)]
    assert find_rule_behaviours([person(pace(29, 250))], []) == []
    assert find_rule_behaviours([person(pace(40, 380))], []) == []


def test_loitering_begins_after_coming_and_ends_with_leaving():
    come, stay, leave = np.linspace(-2000, -20, 50), pace(45, 100), np.linspace(20, 3000, 60)
    (found,) = find_rule_behaviours([person(np.concatenate([come, stay, leave]))], [])
    # The place is three bodies wide: the last steps into it and the first out of it are within.
    assert found.start_seconds == pytest.approx(10, abs=2)
    assert found.end_seconds == pytest.approx(55, abs=2)


def test_a_walk_is_no_loitering_however_long():
    assert find_rule_behaviours([person(np.linspace(0, 9000, 600))], []) == []


def test_two_stays_apart_are_two():
    twice = np.concatenate([pace(35, 50), 2000 + pace(35, 50)])
    assert [each.action.name for each in find_rule_behaviours([person(twice)], [])] == ["loiter", "loiter"]


def test_loitering_is_as_sure_as_the_person_was_seen():
    (found,) = find_rule_behaviours([person(pace(40, 50), every=2)], [])
    assert found.action.probability == pytest.approx(0.5, abs=0.01)


def fallen(lying_seconds, rest_seconds=0.0):
    wide = [False] * 10 + [True] * round(lying_seconds * RATE_HZ) + [False] * round(rest_seconds * RATE_HZ)
    return person(np.zeros(len(wide)), wide=np.array(wide))


def test_who_stays_down_after_a_fall_lies():
    (found,) = find_rule_behaviours([fallen(6, 4)], [deed("fall", 1.5, 2.5)])
    assert said([found]) == [("t1", "fall_and_lie", 1.5, 7.8)]
    assert found.action.probability == 0.8


@pytest.mark.parametrize(("track", "deeds"), [(fallen(2, 6), [deed("fall", 1.5, 2.5)]), (fallen(6), [])])
def test_getting_up_at_once_or_lying_down_without_a_fall_is_neither(track, deeds):
    assert find_rule_behaviours([track], deeds) == []


def test_who_runs_from_a_fight_beside_them_runs_away():
    runner, other = person(np.full(60, 100.0)), person(np.full(60, 250.0), track_id="t2")
    run, fight = deed("run", 6, 9), deed("fight", 2, 5, track_id="t2")
    assert said(find_rule_behaviours([runner, other], [run, fight])) == [("t1", "run_away", 6, 9)]


@pytest.mark.parametrize(
    ("at_px", "alarm"),
    [
        (500.0, deed("fight", 2, 5, track_id="t2")),
        (250.0, deed("fight", 0, 0.5, track_id="t2")),
        (250.0, deed("fight", 7, 9, track_id="t2")),
        (250.0, deed("wave", 2, 5, track_id="t2")),
    ],
    ids=["far away", "long ago", "later", "nothing alarming"],
)
def test_other_runs_are_runs(at_px, alarm):
    runner, other = person(np.full(60, 100.0)), person(np.full(60, at_px), track_id="t2")
    assert find_rule_behaviours([runner, other], [deed("run", 6, 9), alarm]) == []
