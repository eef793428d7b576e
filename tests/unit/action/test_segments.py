from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.action.segments import WindowProbabilities, find_segments
from services.contracts.action import ActionSegment
from services.contracts.card import ActionCalibration

CLASSES = ("stand", "wave")
CALIBRATION = ActionCalibration(temperature=1, minimum_probability=0.6, minimum_seconds=0.5)


def windows(*wave: float, stride: float = 0.5, length: float = 1.0) -> WindowProbabilities:
    starts = np.arange(len(wave)) * stride
    return WindowProbabilities(starts, starts + length, np.array([(1 - p, p) for p in wave]).reshape(-1, 2))


def find(probabilities: WindowProbabilities) -> list[ActionSegment]:
    return find_segments("t1", probabilities, CLASSES, CALIBRATION)


def named(segments: list[ActionSegment]) -> list[tuple[str, float, float]]:
    return [(s.action.name, s.start_seconds, s.end_seconds) for s in segments]


def test_one_steady_action_is_one_segment_over_all_windows() -> None:
    assert named(find(windows(0.1, 0.1, 0.1))) == [("stand", 0.0, 2.0)]


def test_a_change_is_cut_where_the_windows_turn() -> None:
    first, second = named(find(windows(*[0.05] * 6, *[0.95] * 6)))
    assert (first[0], second[0]) == ("stand", "wave")
    assert first[2] == second[1]
    assert 2.5 <= first[2] <= 4.0


def test_a_brief_doubt_does_not_split_a_segment() -> None:
    assert len(find(windows(0.9, 0.9, 0.5, 0.9, 0.9))) == 1


def test_one_window_that_is_sure_of_something_else_is_outvoted() -> None:
    assert named(find(windows(*[0.05] * 8, 1.0, *[0.05] * 8, stride=0.25))) == [("stand", 0.0, 5.0)]


def test_a_second_of_something_else_is_not() -> None:
    names = [name for name, _, _ in named(find(windows(*[0.01] * 8, *[0.99] * 5, *[0.01] * 8, stride=0.25)))]
    assert names == ["stand", "wave", "stand"]


def test_a_change_costs_what_the_card_says() -> None:
    brief = windows(*[0.01] * 8, *[0.99] * 5, *[0.01] * 8, stride=0.25)
    dear = CALIBRATION.model_copy(update={"switch_cost": 9.0})
    assert len(find_segments("t1", brief, CLASSES, dear)) == 1


def test_a_segment_ends_where_nobody_is_seen_and_another_may_begin() -> None:
    seen = windows(*[0.1] * 3, *[0.9] * 3, stride=1.0)
    gone = WindowProbabilities(
        seen.start_seconds + 4 * (np.arange(6) > 2), seen.end_seconds + 4 * (np.arange(6) > 2), seen.probabilities
    )
    assert named(find(gone)) == [("stand", 0.0, 3.0), ("wave", 7.0, 10.0)]
    same = WindowProbabilities(gone.start_seconds, gone.end_seconds, seen.probabilities[[0] * 6])
    assert named(find(same)) == [("stand", 0.0, 3.0), ("stand", 7.0, 10.0)]


def test_how_long_it_lasts_counts_and_not_how_many_windows_say_so() -> None:
    brief = windows(*[0.01] * 20, *[0.99] * 3, *[0.01] * 20, stride=0.1, length=0.1)
    assert len(find(brief)) == 1


def test_a_window_that_rules_an_action_out_is_outvoted_by_its_neighbours() -> None:
    sure = windows(*[0.1] * 4, 1.0, *[0.1] * 4, stride=0.2, length=0.2)
    assert named(find(sure)) == [("stand", 0.0, 1.8)]


def test_who_comes_back_owes_nothing_to_what_they_did_before() -> None:
    # The second would not pay for a change, had they been seen all the time.
    probabilities = np.array([(0.9, 0.1), (0.2, 0.8)])
    gone = WindowProbabilities(np.array([0.0, 5.0]), np.array([2.0, 5.5]), probabilities)
    assert named(find(gone)) == [("stand", 0.0, 2.0), ("wave", 5.0, 5.5)]
    seen = WindowProbabilities(np.array([0.0, 2.0]), np.array([2.0, 2.5]), probabilities)
    assert named(find(seen)) == [("stand", 0.0, 2.5)]


def test_windows_that_meet_leave_no_gap_where_their_seconds_are_rounded() -> None:
    assert named(find(windows(*[0.1] * 40, stride=0.3, length=0.3))) == [("stand", 0.0, 12.0)]


def test_unsure_windows_say_nothing() -> None:
    assert find(windows(0.5, 0.5, 0.5)) == []


def test_the_likeliest_way_is_found_of_all_ways() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        probabilities = rng.dirichlet(np.ones(2), size=9)
        starts = np.arange(9) * 1.0
        rated = WindowProbabilities(starts, starts + 1, probabilities)
        free = CALIBRATION.model_copy(update={"minimum_probability": 0.0, "minimum_seconds": 0.0})
        found = find_segments("t1", rated, CLASSES, free)
        got = [CLASSES.index(s.action.name) for s in found for _ in range(round(s.end_seconds - s.start_seconds))]

        gains = np.log(probabilities)
        worth = {way: gains[np.arange(9), way].sum() - np.abs(np.diff(way)).sum() for way in product((0, 1), repeat=9)}
        assert worth[tuple(got)] == pytest.approx(max(worth.values()))


def test_segments_shorter_than_the_minimum_are_dropped() -> None:
    assert find(windows(0.9, stride=0.2, length=0.3)) == []


def test_a_segment_just_at_the_limits_is_kept() -> None:
    (segment,) = find(windows(0.6, length=0.5))
    assert named([segment]) == [("wave", 0.0, 0.5)]
    assert segment.action.probability == 0.6


def test_no_windows_no_segments() -> None:
    empty = WindowProbabilities(np.empty(0), np.empty(0), np.empty((0, 2)))
    assert find(empty) == []


def test_the_probability_is_the_mean_over_the_segment() -> None:
    (segment,) = find(windows(0.8, 0.8, 0.8))
    assert segment.action.probability == pytest.approx(0.8)


def test_the_probability_is_a_mean_over_seconds() -> None:
    unequal = WindowProbabilities(np.array([0.0, 1.0]), np.array([1.0, 4.0]), np.array([(0.1, 0.9), (0.3, 0.7)]))
    (segment,) = find(unequal)
    assert segment.action.probability == pytest.approx(0.75)


def test_a_window_counts_most_in_its_middle() -> None:
    # Of the first second the short window shows the middle, and the long one its first quarter.
    both = WindowProbabilities(np.zeros(2), np.array([1.0, 4.0]), np.array([(0.0, 1.0), (0.4, 0.6)]))
    (segment,) = find(both)
    first_second = (1.0 * 1.0 + 0.25 * 0.6) / (1.0 + 0.25)
    assert segment.action.probability == pytest.approx((first_second + 3 * 0.6) / 4)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_segments_are_ordered_disjoint_and_inside_the_windows(wave: list[float]) -> None:
    segments = find(windows(*wave))
    for before, after in pairwise(segments):
        assert before.end_seconds <= after.start_seconds
    for segment in segments:
        assert 0 <= segment.start_seconds < segment.end_seconds <= len(wave) * 0.5 + 0.5
        assert segment.action.probability >= CALIBRATION.minimum_probability - 1e-4


def test_an_hour_of_windows_is_smoothed_in_linear_memory() -> None:
    rng = np.random.default_rng(0)
    starts = np.arange(12_000) * 0.3
    probabilities = WindowProbabilities(starts, starts + 2, rng.dirichlet(np.ones(7), size=len(starts)))
    assert find_segments("t1", probabilities, tuple("abcdefg"), CALIBRATION) is not None


def test_a_card_from_when_segments_opened_and_closed_is_still_read() -> None:
    before = {"temperature": 2.0, "enter_probability": 0.7, "leave_probability": 0.4, "minimum_seconds": 0.5}
    read = ActionCalibration.model_validate(before)
    assert (read.temperature, read.minimum_probability, read.minimum_seconds) == (2.0, 0.7, 0.5)
    assert ActionCalibration.model_validate_json(read.model_dump_json()) == read
