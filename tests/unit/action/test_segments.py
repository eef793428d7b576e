from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.action.segments import WindowProbabilities, find_segments
from services.contracts.action import ActionSegment
from services.contracts.card import ActionCalibration

CLASSES = ("stand", "wave")
CALIBRATION = ActionCalibration(temperature=1, enter_probability=0.6, leave_probability=0.4, minimum_seconds=0.5)


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


def test_unsure_windows_open_nothing() -> None:
    assert find(windows(0.5, 0.5, 0.5)) == []


def test_segments_shorter_than_the_minimum_are_dropped() -> None:
    assert find(windows(0.9, stride=0.2, length=0.3)) == []


def test_no_windows_no_segments() -> None:
    empty = WindowProbabilities(np.empty(0), np.empty(0), np.empty((0, 2)))
    assert find(empty) == []


def test_the_probability_is_the_mean_over_the_segment() -> None:
    (segment,) = find(windows(0.8, 0.8, 0.8))
    assert segment.action.probability == pytest.approx(0.8)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=30))
def test_segments_are_ordered_disjoint_and_inside_the_windows(wave: list[float]) -> None:
    segments = find(windows(*wave))
    for before, after in pairwise(segments):
        assert before.end_seconds <= after.start_seconds
    for segment in segments:
        assert 0 <= segment.start_seconds < segment.end_seconds <= len(wave) * 0.5 + 0.5
        assert segment.action.probability >= CALIBRATION.leave_probability


def test_an_hour_of_windows_is_smoothed_in_linear_memory() -> None:
    rng = np.random.default_rng(0)
    starts = np.arange(12_000) * 0.3
    probabilities = WindowProbabilities(starts, starts + 2, rng.dirichlet(np.ones(7), size=len(starts)))
    assert find_segments("t1", probabilities, tuple("abcdefg"), CALIBRATION) is not None
