import numpy as np
import pytest

from services.action.pushes import point_pushes
from services.contracts.action import Action, ActionSegment
from services.perception.track import Track

RATE_HZ = 10.0


def person(track_id, x_px, *, seconds=4.0, from_seconds=0.0, wide=False):
    """A body 100 px long whose feet stand at y = 200, at one place or at a list of them."""
    times = from_seconds + np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    x = np.broadcast_to(np.asarray(x_px, np.float32), times.shape)
    half_width, height = (50, 40) if wide else (20, 100)
    boxes = np.stack([x - half_width, 200 - height + 0 * x, x + half_width, 200 + 0 * x], axis=1)
    sure = np.ones(len(times), np.float32)
    return Track(track_id, times, boxes.astype(np.float32), sure, sure > 0)


def deed(track_id, name="push", start=1.0, end=3.0):
    return ActionSegment(
        track_id=track_id, action=Action(name=name, probability=0.9), start_seconds=start, end_seconds=end
    )


def pushed(tracks, segments):
    return [each.toward and (each.toward.track_id, each.toward.share) for each in point_pushes(tracks, segments)]


def test_a_push_is_done_to_the_nearest_person_and_other_actions_to_nobody():
    tracks = [person("t1", 100), person("t2", 165), person("t3", 55)]
    segments = [deed("t1"), deed("t2", "fall")]
    assert pushed(tracks, segments) == [("t3", 1.0), None]
    told = point_pushes(tracks, segments)
    assert told[1] is segments[1]
    assert "toward" not in told[1].model_dump()


def test_who_lies_stands_where_their_lower_edge_is():
    assert pushed([person("t1", 100), person("t2", 150, wide=True), person("t3", 40)], [deed("t1")]) == [("t2", 1.0)]


def test_nobody_out_of_reach_or_out_of_view_is_pushed():
    assert pushed([person("t1", 100), person("t2", 175)], [deed("t1")]) == [None]
    assert pushed([person("t1", 100), person("t2", 140, from_seconds=3.3)], [deed("t1")]) == [None]
    assert pushed([person("t1", 100)], [deed("t1")]) == [None]
    # Reach is a share of the body, however large it is in the picture; t1 is half as far away for a body half as long.
    assert pushed([person("t1", 100, wide=True), person("t2", 134)], [deed("t1")]) == [("t2", 1.0)]


def test_whoever_is_nearest_for_less_than_half_of_the_time_is_not_named():
    times = np.arange(40) / RATE_HZ
    leaving = np.where(times < 1.9, 140, 900)
    assert pushed([person("t1", 100), person("t2", leaving)], [deed("t1")]) == [None]
    staying = np.where(times < 2.2, 140, 900)
    assert pushed([person("t1", 100), person("t2", staying)], [deed("t1")]) == [("t2", 0.6)]
    # Two who take turns: neither.
    turns = (np.arange(40) % 3).astype(int)
    three = [person(f"t{number + 2}", np.where(turns == number, 140, 900)) for number in range(3)]
    assert pushed([person("t1", 100), *three], [deed("t1")]) == [None]


def test_a_second_track_on_the_pusher_is_not_whom_they_push():
    tracks = [person("t1", 100), person("t2", 108), person("t3", 145)]
    assert pushed(tracks, [deed("t1"), deed("t2")]) == [("t3", 1.0), ("t3", 1.0)]
    # Somebody as near who does not push at that moment is a person of their own,
    assert pushed(tracks, [deed("t1"), deed("t2", start=3.0, end=4.0)])[0] == ("t2", 1.0)
    # and so is somebody at arm's length who pushes back.
    assert pushed([tracks[0], tracks[2]], [deed("t1"), deed("t3")]) == [("t3", 1.0), ("t1", 1.0)]


@pytest.mark.parametrize("end", [1.0001, 9.0])
def test_a_push_shorter_than_a_picture_or_longer_than_the_track_is_no_fault(end):
    assert pushed([person("t1", 100), person("t2", 140)], [deed("t1", end=end)]) == [("t2", 1.0)]
    assert pushed([person("t1", 100), person("t2", 140)], [deed("t1", start=8.0, end=9.0)]) == [None]
