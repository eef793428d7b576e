"""The tracker on drawn boxes: no pictures, so that what must happen is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.perception.tracker import LOST_SECONDS, Followed, Tracker

Scene = list[tuple[NDArray[np.float32], int]]
"""The people detected in one picture: a box, and which clothes they wear."""

RED, BLUE, RUST = 0, 1, 2


def person(x: float, y: float = 200, height: float = 160) -> NDArray[np.float32]:
    return np.array([x - height / 5, y - height / 2, x + height / 5, y + height / 2], np.float32)


def clothes(colour: int) -> NDArray[np.float32]:
    histogram = np.full(18, 0.01, np.float32)
    histogram[3 + 6 * colour % 12] = 1
    if colour == RUST:
        # Not red, and not another colour either.
        histogram[5] = 0.5
    return histogram / histogram.sum()


def follow(scenes: list[Scene], rate_hz: float = 10, confidence: float = 0.9) -> list[list[Followed]]:
    tracker = Tracker(0.4, 1280, 720)
    answers = []
    for index, scene in enumerate(scenes):
        boxes = np.stack([box for box, _ in scene]) if scene else np.zeros((0, 4), np.float32)
        confidences = np.full(len(scene), confidence, np.float32)
        answers.append(tracker.update(index / rate_hz, boxes, confidences, [clothes(c) for _, c in scene]))
    return answers


def number_at(answer: list[Followed], x: float) -> int | None:
    """Who is detected at `x`."""
    for one in answer:
        if one.detected and abs((one.box_px[0] + one.box_px[2]) / 2 - x) < 40:
            return one.number
    return None


@pytest.mark.parametrize("rate_hz", [5, 10, 25])
@pytest.mark.parametrize("speed", [0, 60, 350])
def test_one_person_is_one_track_at_any_rate_and_speed(rate_hz: float, speed: float) -> None:
    scenes = [[(person(100 + speed * k / rate_hz), RED)] for k in range(int(3 * rate_hz))]
    answers = follow(scenes, rate_hz)
    assert {one.number for answer in answers for one in answer} == {0}
    assert answers[-1][0].confirmed


def test_two_who_cross_keep_their_numbers() -> None:
    scenes: list[Scene] = []
    for k in range(41):
        left, right = 100 + 20 * k, 900 - 20 * k
        # While they overlap the detector sees the one in front alone.
        scenes.append([(person(left), RED)] + ([(person(right), BLUE)] if abs(left - right) > 50 else []))
    answers = follow(scenes)
    red, blue = number_at(answers[3], 160), number_at(answers[3], 840)
    assert red is not None
    assert blue is not None
    assert number_at(answers[-1], 900) == red
    assert number_at(answers[-1], 100) == blue


def test_two_who_meet_and_turn_back_are_told_apart_by_their_clothes() -> None:
    scenes: list[Scene] = []
    for k in range(41):
        left = 100 + 20 * min(k, 40 - k)
        right = 900 - 20 * min(k, 40 - k)
        scenes.append([(person(left), RED)] + ([(person(right), BLUE)] if right - left > 50 else []))
    answers = follow(scenes)
    assert number_at(answers[-1], 100) == number_at(answers[3], 160)
    assert number_at(answers[-1], 900) == number_at(answers[3], 840)


def test_twins_who_stood_behind_one_another_are_never_swapped() -> None:
    scenes: list[Scene] = []
    for k in range(10):
        scenes.append([(person(420 + 8 * k), RED), (person(580 - 8 * k), RED)])
    scenes += [[(person(500), RED)]] * 8
    for k in range(1, 12):
        scenes.append([(person(500 - 10 * k), RED), (person(500 + 10 * k), RED)])
    answers = follow(scenes)
    before = {number_at(answers[2], 436), number_at(answers[2], 564)}
    after = {one.number for one in answers[-1] if one.detected}
    # Nothing tells them apart, so neither old track may go on.
    assert len(after) == 2
    assert not before & after


@pytest.mark.parametrize("hidden_seconds", [0.3, 0.8, 1.4])
def test_someone_hidden_for_a_while_comes_back_as_themselves(hidden_seconds: float) -> None:
    scenes: list[Scene] = [[(person(100 + 6 * k), RED)] for k in range(20)]
    scenes += [[]] * round(hidden_seconds * 10)
    start = len(scenes)
    scenes += [[(person(100 + 6 * (start + k)), RED)] for k in range(5)]
    assert {one.number for one in follow(scenes)[-1]} == {0}


def test_someone_else_who_comes_out_is_someone_else() -> None:
    scenes: list[Scene] = [[(person(300), RED)]] * 20 + [[]] * 8 + [[(person(300), BLUE)]] * 5
    answers = follow(scenes)
    assert number_at(answers[-1], 300) not in (None, 0)


def test_a_track_ends_when_nobody_comes_back() -> None:
    scenes: list[Scene] = [[(person(300), RED)]] * 10 + [[]] * round(LOST_SECONDS * 10 + 2)
    assert follow(scenes)[-1] == []


def test_a_flash_is_nobody() -> None:
    scenes: list[Scene] = [[(person(300), RED)]] + [[]] * 10
    assert not any(one.confirmed for answer in follow(scenes) for one in answer)


def test_unsure_detections_carry_on_but_never_begin() -> None:
    tracker = Tracker(0.4, 1280, 720)
    for k, confidence in enumerate([0.9, 0.9, 0.9, 0.25, 0.25, 0.25]):
        answer = tracker.update(k / 10, person(300)[None], np.array([confidence], np.float32), [None])
        assert [one.number for one in answer] == [0]
        assert answer[0].detected
    assert tracker.update(0.6, person(900)[None], np.array([0.25], np.float32), [None])[0].number == 0


def test_half_of_a_person_is_not_another_one() -> None:
    half = person(300).copy()
    half[3] = 200
    scenes: list[Scene] = [[(person(300), RED)]] * 5 + [[(person(300), RED), (half, RED)]] * 5
    assert {one.number for one in follow(scenes)[-1]} == {0}


def test_time_may_not_go_back() -> None:
    tracker = Tracker(0.4, 1280, 720)
    tracker.predict(1.0)
    with pytest.raises(ValueError, match="time must not go back"):
        tracker.predict(0.5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 1200), st.integers(60, 600), st.integers(20, 500), st.floats(0.2, 1)),
                         max_size=5), max_size=15))  # fmt: skip
def test_whatever_is_detected_no_detection_has_two_owners(pictures: list[list[tuple[int, int, int, float]]]) -> None:
    tracker = Tracker(0.4, 1280, 720)
    ended: set[int] = set()
    before: set[int] = set()
    for k, picture in enumerate(pictures):
        boxes = np.array([person(x, y, height) for x, y, height, _ in picture], np.float32).reshape(-1, 4)
        confidences = np.array([confidence for *_, confidence in picture], np.float32)
        answer = tracker.update(k / 10, boxes, confidences, [None] * len(picture))
        now = {one.number for one in answer}
        owned = [one.detection for one in answer if one.detection is not None]
        assert len(owned) == len(set(owned))
        assert len(now) == len(answer)
        ended |= before - now
        assert not ended & now
        assert all(np.isfinite(one.box_px).all() for one in answer)
        before = now


def test_the_one_box_of_two_people_is_left_to_the_one_it_shows() -> None:
    # A runner starts beside somebody who stands: for a moment the detector sees one of them, in both their places.
    def striped(red: float) -> NDArray[np.float32]:
        return np.array([red, 1 - red], np.float32)

    near, far = np.array([853, 226, 1020, 646], np.float32), np.array([781, 210, 875, 511], np.float32)
    tracker = Tracker(0.4, 1280, 720)
    for k in range(10):
        tracker.update(k / 10, np.stack([near, far]), np.full(2, 0.9, np.float32), [striped(0.9), striped(0.2)])
    merged = np.array([774, 210, 939, 514], np.float32)
    tracker.update(1.0, np.stack([near, merged]), np.full(2, 0.9, np.float32), [striped(0.9), striped(0.2)])
    running = np.array([[769, 224, 921, 623]], np.float32)
    first, second = tracker.update(1.1, running, np.full(1, 0.9, np.float32), [striped(0.78)])
    assert first.detected
    assert not second.detected


def test_nobody_is_followed_for_ever_by_what_stands_out_from_the_scene() -> None:
    tracker = Tracker(0.4, 1280, 720)
    for k in range(5):
        tracker.update(k / 10, person(400)[None], np.full(1, 0.9, np.float32), [clothes(RED)])
    for k in range(5, 100):
        followed = tracker.update(k / 10, person(400)[None], np.zeros(1, np.float32), [None])
        if k == 40:
            assert followed, "whoever lies for a few seconds is still there"
    assert followed == []


def test_who_turns_and_shows_other_colours_stays_who_they_are() -> None:
    scenes: list[Scene] = [[(person(300), RED if k < 10 else BLUE)] for k in range(20)]
    assert {one.number for answer in follow(scenes) for one in answer} == {0}


def test_other_colours_are_somebody_else_where_two_may_be_meant() -> None:
    scenes: list[Scene] = [[(person(300), RED), (person(400), RED)] for _ in range(10)]
    # Both go behind a third person, who alone is seen where they stood.
    scenes += [[(person(350), BLUE)] for _ in range(10)]
    answers = follow(scenes)
    assert number_at(answers[-1], 350) not in {one.number for one in answers[9]}


def test_a_box_that_holds_two_is_nobodys() -> None:
    apart: Scene = [(person(300), RED), (person(380), BLUE)]
    together: Scene = [(np.array([268, 118, 412, 282], np.float32), RED)]
    answers = follow([apart] * 8 + [[(person(310), RED), (person(370), BLUE)]] * 3 + [together] * 5 + [apart] * 5)
    assert [sum(one.detected for one in answer) for answer in answers[11:16]] == [0] * 5
    red, blue = number_at(answers[5], 300), number_at(answers[5], 380)
    assert (number_at(answers[-1], 300), number_at(answers[-1], 380)) == (red, blue), "both are still followed"


def test_who_passes_before_somebody_is_still_seen() -> None:
    scenes: list[Scene] = []
    for k in range(30):
        x = 150 + 15 * k
        scenes.append([(person(x), RED)] + ([(person(400), BLUE)] if abs(x - 400) > 50 else []))
    answers = follow(scenes)
    assert all(number_at(answer, 150 + 15 * k) == 0 for k, answer in enumerate(answers))


def test_other_clothes_where_two_stood_close_are_neither_of_them() -> None:
    scenes: list[Scene] = [[(person(300), RED), (person(360), RED)] for _ in range(10)]
    # Somebody else comes before both, nearly where the first was.
    answers = follow([*scenes, [(person(305), BLUE)]])
    assert number_at(answers[9], 300) is not None
    assert not {one.number for one in answers[10] if one.detected} & {one.number for one in answers[9]}


@pytest.mark.parametrize(("hidden", "back_at_px"), [(2, 225), (5, 225), (5, 90)], ids=["briefly", "a while", "a run"])
def test_who_turned_round_where_they_were_hidden_is_found_by_their_clothes(hidden: int, back_at_px: float) -> None:
    scenes: list[Scene] = [[(person(100 + 25 * k), RED), (person(700), BLUE)] for k in range(10)]
    # Last seen at 325 px on the way to the right; next to the left of it.
    scenes += [[(person(700), BLUE)]] * hidden
    scenes += [[(person(back_at_px - 15 * k), RED), (person(700), BLUE)] for k in range(5)]
    answers = follow(scenes)
    red = number_at(answers[9], 325)
    assert [number_at(answer, back_at_px - 15 * k) for k, answer in enumerate(answers[-5:])] == [red] * 5


def test_who_is_suddenly_beside_where_they_stood_is_found_by_their_clothes() -> None:
    scenes: list[Scene] = [[(person(300), RED)]] * 10 + [[(person(385), RED)]] * 3
    assert {one.number for answer in follow(scenes) for one in answer} == {0}


@pytest.mark.parametrize(
    ("back", "beside"),
    [
        (person(1100), BLUE),
        (person(225, y=620), BLUE),
        (person(225, height=300), BLUE),
        (person(225, height=90), BLUE),
        (person(225), RED),
    ],
    ids=["nobody runs as fast", "nor down", "nobody grows so", "nobody shrinks so", "somebody else wears the same"],
)
def test_nobody_is_found_by_clothes_where_another_may_be_meant(back: NDArray[np.float32], beside: int) -> None:
    scenes: list[Scene] = [[(person(100 + 25 * k), RED), (person(700), beside)] for k in range(10)]
    scenes += [[(person(700), beside)]] * 5 + [[(back, RED), (person(700), beside)]] * 3
    answers = follow(scenes)
    found = number_at(answers[-1], float(back[0] + back[2]) / 2)
    assert found not in {None, *(one.number for one in answers[9])}


def test_nobody_is_found_by_clothes_where_two_in_the_same_come_out() -> None:
    scenes: list[Scene] = [[(person(100 + 25 * k), RED)] for k in range(10)]
    scenes += [[]] * 5 + [[(person(225), RED), (person(120), RED)]] * 3
    answers = follow(scenes)
    assert number_at(answers[9], 325) == 0
    assert 0 not in {one.number for one in answers[-1] if one.detected}


def test_clothes_in_a_crowd_find_nobody() -> None:
    scenes: list[Scene] = [[(person(100 + 25 * k), RED), (person(265), BLUE)] for k in range(3)]
    scenes += [[(person(100 + 25 * k), RED)] for k in range(3, 10)]
    # What looks red may be a part of whoever stands half behind.
    scenes += [[]] * 5 + [[(person(225), RED), (person(265), BLUE)]] * 3
    answers = follow(scenes)
    assert 0 not in {one.number for one in answers[-1] if one.detected}


def test_a_box_around_somebody_else_is_not_given_to_the_lost() -> None:
    child = (person(225, height=100), BLUE)
    scenes: list[Scene] = [[(person(300 + 25 * k, height=240), RED), child] for k in range(10)]
    scenes += [[child]] * 5 + [[(person(225, height=240), RED), child]] * 3
    answers = follow(scenes)
    assert [one.number for one in answers[-1] if one.detected] == [number_at(answers[9], 225)]


def test_who_was_seen_once_is_not_found_by_their_clothes() -> None:
    answers = follow([[(person(300), RED)], [], [(person(420), RED)]])
    assert number_at(answers[0], 300) == 0
    assert number_at(answers[-1], 420) == 1


def test_what_another_was_given_for_want_of_its_owner_is_given_back() -> None:
    scenes: list[Scene] = [[(person(20 + 40 * k), RED), (person(440), RUST)] for k in range(8)]
    scenes += [[(person(440), RUST)]] * 6
    # The runner has turned back unseen, and comes out where the other, now hidden, should be rather than they.
    scenes += [[(person(400), RED)], [(person(340), RED), (person(440), RUST)]]
    answers = follow(scenes)
    runner, other = number_at(answers[7], 300), number_at(answers[7], 440)
    assert [one.number for one in answers[-2] if one.detected] == [runner]
    assert number_at(answers[-2], 400) == runner
    assert (number_at(answers[-1], 340), number_at(answers[-1], 440)) == (runner, other)


def test_nobody_loses_what_is_where_they_should_be() -> None:
    scenes: list[Scene] = [[(person(20 + 40 * k), RED), (person(440), RUST)] for k in range(8)]
    scenes += [[(person(440), RUST)]] * 6 + [[(person(440), RED)]] * 3
    answers = follow(scenes)
    assert number_at(answers[-1], 440) == number_at(answers[7], 440)
