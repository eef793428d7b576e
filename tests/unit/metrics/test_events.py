"""Events F1 against a slow search over every one-to-one pairing."""

from itertools import permutations

import numpy as np
import pytest

from training.metrics.events import Claim, Happening, match_events, score_events, temporal_iou


def happening(subject="ann", action="walk", start=0.0, end=2.0, clip="a"):
    return Happening(clip, subject, action, start, end)


def claim(subject="ann", action="walk", start=0.0, end=2.0, clip="a", shown="ann"):
    return Claim(clip, subject, action, start, end, shown)


def slow_matched(truths, claims, minimum_iou):
    def right(t, c):
        same = t.clip == c.clip and t.subject_id == c.subject_id and t.action == c.action
        ticks = np.arange(0, 12, 0.001)
        in_t = (ticks >= t.start_seconds) & (ticks < t.end_seconds)
        in_c = (ticks >= c.start_seconds) & (ticks < c.end_seconds)
        return same and (in_t & in_c).sum() / max((in_t | in_c).sum(), 1) >= minimum_iou

    size = max(len(truths), len(claims))
    best = 0
    for order in permutations(range(size), len(truths)):
        best = max(best, sum(j < len(claims) and right(truths[i], claims[j]) for i, j in enumerate(order)))
    return best


@pytest.mark.parametrize("seed", range(6))
def test_matches_as_many_as_an_exhaustive_search(seed):
    rng = np.random.default_rng(seed)

    def draw(make):
        start = float(rng.integers(0, 8)) + 0.0005
        return make(
            subject=str(rng.choice(["ann", "bo"])),
            action=str(rng.choice(["walk", "run"])),
            start=start,
            end=start + float(rng.integers(1, 4)) + 0.003,
        )

    truths = [draw(happening) for _ in range(5)]
    claims = [draw(claim) for _ in range(6)]
    scores = score_events(truths, claims, minimum_iou=0.5)
    matched = slow_matched(truths, claims, 0.5)
    assert scores.matched == matched
    assert scores.f1 == pytest.approx(2 * matched / 11)


def test_a_truth_answers_for_one_claim_only():
    scores = score_events([happening()], [claim(), claim()])
    assert (scores.matched, scores.precision, scores.recall) == (1, 0.5, 1.0)


def test_the_greater_overlap_wins_among_equal_counts():
    assert match_events([happening()], [claim(end=1.5), claim(end=1.9)]) == [(0, 1)]


def test_unknown_is_right_for_a_stranger_and_a_name_is_not():
    truth = [happening(subject=None)]
    right = score_events(truth, [claim(subject=None, shown=None)])
    wrong = score_events(truth, [claim(subject="ann", shown=None)])
    assert (right.matched, right.strangers_named) == (1, 0)
    assert (wrong.matched, wrong.strangers_named, wrong.swapped) == (0, 1, 0)


def test_a_swapped_name_is_counted_though_the_action_is_right():
    scores = score_events([happening()], [claim(subject="bo", shown="ann")])
    assert (scores.matched, scores.swapped, scores.strangers_named) == (0, 1, 0)


def test_touching_intervals_do_not_overlap():
    assert temporal_iou((0, 1), (1, 2)) == 0.0


def test_silence_about_nothing_is_perfect():
    assert score_events([], []).f1 == 1.0
