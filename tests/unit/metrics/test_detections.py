import pytest

from training.metrics.detections import ActingPerson, Segment, frame_map, segment_map


def segment(start, end, probability=1.0, *, clip="c", action="run"):
    return Segment(clip, action, start, end, probability)


def test_precision_is_integrated_over_recall():
    truths = [segment(0, 2), segment(4, 6)]
    claims = [segment(0, 2, 0.9), segment(10, 12, 0.8), segment(4, 6, 0.7)]
    # Recall 0.5 at precision 1, then 1.0 at precision 2/3.
    assert segment_map(truths, claims, minimum_iou=0.5) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_second_claim_on_one_truth_is_wrong():
    truths = [segment(0, 2), segment(4, 6)]
    doubled = [segment(0, 2, 0.9), segment(0, 2, 0.8), segment(4, 6, 0.7)]
    assert segment_map(truths, doubled, minimum_iou=0.5) == pytest.approx(0.5 + 0.5 * 2 / 3)


@pytest.mark.parametrize(
    "claim", [segment(0, 0.9), segment(0, 2, clip="d"), segment(0, 2, action="walk")], ids=["iou", "clip", "action"]
)
def test_a_claim_of_something_else_finds_nothing(claim):
    assert segment_map([segment(0, 2)], [claim], minimum_iou=0.5) == 0


def test_actions_are_weighed_alike():
    truths = [segment(0, 2), segment(3, 5), segment(0, 2, action="fall")]
    claims = [segment(0, 2), segment(3, 5)]
    assert segment_map(truths, claims, minimum_iou=0.5) == pytest.approx(0.5)


def test_boxes_are_matched_within_their_picture_at_half_overlap():
    truths = [ActingPerson("f1", "hug", (0, 0, 1, 1)), ActingPerson("f2", "hug", (0, 0, 1, 1))]
    near = ActingPerson("f1", "hug", (0, 0, 1, 0.6), 0.9)
    far = ActingPerson("f2", "hug", (0, 0, 1, 0.4), 0.8)
    assert frame_map(truths, [near, far]) == pytest.approx(0.5)
