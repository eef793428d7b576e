"""Events of made-up analyses beside people whose boxes are known at every moment."""

import numpy as np
import pytest

from services.perception.track import Track
from tests.unit.reports.analyses import NOT_SURE, UNKNOWN, analysis_of, match
from training.bench.accuracy import f1_interval, judge_clip, list_faults, tabulate
from training.datasets.truth import PersonTruth
from training.metrics.events import Happening

TIMES = np.arange(0, 10, 0.1)
LEFT, RIGHT = (0, 0, 10, 20), (50, 0, 60, 20)
ENROLLED = frozenset({"ann", "bo"})


def person(subject_id, box, *deeds, clip="a"):
    happenings = tuple(Happening(clip, subject_id, action, start, end) for action, start, end in deeds)
    return PersonTruth(subject_id, TIMES, np.tile(np.array(box, np.float32), (len(TIMES), 1)), happenings)


def track(track_id, *spans):
    """A track that lies on each box from one second on."""
    boxes = np.zeros((len(TIMES), 4), np.float32)
    for start, box in spans:
        boxes[start <= TIMES] = box
    n = len(TIMES)
    return Track(track_id, TIMES, boxes, np.ones(n, np.float32), np.ones(n, bool))


def judge(identities_and_deeds, tracks, people, clip="a"):
    analysis = analysis_of([(identity, 0.0, 10.0, deeds) for identity, deeds in identities_and_deeds])
    return judge_clip(clip, analysis, tracks, people, ENROLLED)


def test_right_names_and_a_right_unknown_count() -> None:
    outcome = judge(
        [(match("ann"), [("walk", 0, 4, 0.9)]), (UNKNOWN, [("run", 0, 6, 0.9)])],
        [track("1", (0, LEFT)), track("2", (0, RIGHT))],
        [person("ann", LEFT, ("walk", 0, 5)), person("stranger", RIGHT, ("run", 0, 5), ("fall", 6, 9))],
    )
    scores = outcome.scores
    assert (scores.truths, scores.claims, scores.matched) == (3, 2, 2)
    assert (scores.swapped, scores.strangers_named) == (0, 0)
    assert list_faults(outcome) == ["a missed    unknown fall 6.00-9.00 s"]


def test_a_track_that_passes_to_another_person_is_a_swap_from_then_on() -> None:
    outcome = judge(
        [(match("ann"), [("walk", 0, 5, 0.9), ("wave", 5, 10, 0.9)])],
        [track("1", (0, LEFT), (5, RIGHT))],
        [person("ann", LEFT, ("walk", 0, 10)), person("bo", RIGHT, ("wave", 0, 10))],
    )
    assert [claim.shown_id for claim in outcome.claims] == ["ann", "bo"]
    assert outcome.scores.swapped == 1


def test_a_name_on_a_stranger_and_a_name_on_nobody_are_counted_apart() -> None:
    outcome = judge(
        [(match("ann"), [("walk", 0, 5, 0.9)]), (match("bo"), [("walk", 0, 5, 0.9)])],
        [track("1", (0, RIGHT)), track("2", (0, (200, 0, 210, 20)))],
        [person("stranger", RIGHT, ("walk", 0, 5))],
    )
    scores = outcome.scores
    assert (scores.strangers_named, scores.misplaced_named, scores.swapped, scores.matched) == (1, 1, 0, 0)
    assert [line.split("(")[1] for line in list_faults(outcome)[1:]] == ["shows a stranger)", "shows no one person)"]


def test_an_abstention_on_a_stranger_is_an_answer_but_not_a_right_one() -> None:
    outcome = judge(
        [(NOT_SURE, [("walk", 0, 5, 0.9)])], [track("1", (0, RIGHT))], [person("stranger", RIGHT, ("walk", 0, 5))]
    )
    assert (outcome.scores.claims, outcome.scores.matched, len(outcome.abstained)) == (1, 0, 1)
    assert any("abstained" in line for line in list_faults(outcome))


def test_the_table_adds_clips_up_and_says_they_are_rendered() -> None:
    good = judge(
        [(match("ann"), [("walk", 0, 5, 0.9)])], [track("1", (0, LEFT))], [person("ann", LEFT, ("walk", 0, 5))]
    )
    bad = judge(
        [(match("bo"), [("run", 0, 5, 0.9)])],
        [track("1", (0, LEFT))],
        [person("ann", LEFT, ("walk", 0, 5), clip="b")],
        clip="b",
    )
    table = tabulate([good, bad], "two clips", verbose=True)
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert [rows[name]["F1"] for name in ("a", "b", "all")] == [1.0, 0.0, 0.5]
    assert rows["all"]["swaps"] == 1
    assert "Rendered" in table.protocol
    assert [bar.met for bar in table.bars] == [False, False, True]
    assert len(table.remarks) == 2
    assert f1_interval([good, bad]) == (0.0, 1.0)
    assert f1_interval([good]) == pytest.approx((1.0, 1.0))
