import numpy as np
import pytest

from training.clips.fisher import FisherParams, RatedViews, calibrate_left_out
from training.metrics.recognition import softmax

RNG = np.random.default_rng(6)


def views(clips=24, *, groups=6, shift=1.5, by_group=0.0):
    """Two views a clip; the first number tells the action, the others tell the group."""
    actions = np.arange(clips) % 2
    group = np.arange(clips) // (clips // groups)
    clip_of_view = np.arange(clips).repeat(2)
    vectors = RNG.normal(size=(2 * clips, 2, 4 + groups)).astype(np.float32)
    vectors[:, :, 0] += shift * (2 * actions[clip_of_view, None] - 1)
    for view, clip in enumerate(clip_of_view):
        vectors[view, :, 4 + group[clip]] += by_group
    return RatedViews(vectors, clip_of_view, actions, np.array([f"g{g}" for g in group]))


def test_a_clip_is_rated_by_the_mean_over_its_views_and_mirror_images():
    rated = views()
    weight, bias = rated.learn_head(np.arange(24), 2, FisherParams())
    logits = rated.rate(np.array([3]), weight, bias)
    slow = np.mean([[weight.numpy() @ v + bias.numpy() for v in rated.vectors[i]] for i in (6, 7)], axis=(0, 1))
    assert logits[0] == pytest.approx(slow, abs=1e-5)
    # Two actions share one plane between them.
    assert logits.sum() == pytest.approx(0, abs=1e-5)


def test_what_tells_the_action_is_found_in_groups_never_met():
    rated = views(shift=3.0)
    logits = rated.leave_groups_out(2, FisherParams())
    assert np.mean(logits.argmax(1) == rated.actions) > 0.9


def test_what_tells_the_group_is_no_help():
    rated = views(shift=0.0, by_group=5.0)
    # Every group does one action only: knowing the group would be knowing the action.
    told = RatedViews(rated.vectors, rated.clip_of_view, np.arange(24) // 4 % 2, rated.groups)
    known = told.rate(np.arange(24), *told.learn_head(np.arange(24), 2, FisherParams()))
    assert np.mean(known.argmax(1) == told.actions) > 0.9
    left_out = told.leave_groups_out(2, FisherParams())
    assert np.mean(left_out.argmax(1) == told.actions) < 0.8


def test_every_clip_is_answered_once_however_groups_are_dealt():
    rated = views(shift=3.0)
    for folds in (None, 2, 4):
        assert (np.abs(rated.leave_groups_out(2, FisherParams(), folds=folds)).sum(1) > 0).all()


def test_an_action_without_an_example_is_refused():
    rated = views()
    with pytest.raises(ValueError, match=r"\[2\] of 3"):
        rated.learn_head(np.arange(24), 3, FisherParams())


def test_a_groups_temperature_comes_from_the_others():
    logits = RNG.normal(size=(40, 3)) * 5
    actions = np.array([RNG.choice(3, p=p) for p in softmax(logits / 5)])
    groups = np.array(["a", "b"]).repeat(20)
    before = calibrate_left_out(logits, actions, groups)
    # Other answers in a group change the other group's probabilities, not its own.
    after = calibrate_left_out(logits, np.where(groups == "b", logits.argmax(1), actions), groups)
    assert np.allclose(before[groups == "b"], after[groups == "b"])
    assert not np.allclose(before[groups == "a"], after[groups == "a"])
