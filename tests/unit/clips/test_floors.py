import numpy as np
import pytest

from training.clips.floors import describe_files, rate_left_out
from training.clips.manifest import LabelledSpan


def test_files_are_described_without_looking_at_a_picture(write_clip):
    path = write_clip(seconds=2.0, rate_hz=10, width_px=96, height_px=64)
    span = LabelledSpan(clip=path.name, actions=("a",), group="g", source="drawn", licence="Apache-2.0")
    width, height, ratio, rate, seconds, bits = describe_files([span], path.parent)[0]
    assert (width, height, ratio) == (96, 64, 1.5)
    assert (rate, seconds) == pytest.approx((10, 2), rel=0.1)
    assert bits == pytest.approx(8 * path.stat().st_size / seconds)


def test_no_row_is_rated_by_a_forest_that_met_its_group():
    # What a feature means is the opposite in the other group: who has met only that one is wrong every time.
    actions, groups = np.array([0, 1] * 10), np.array(["a"] * 10 + ["b"] * 10)
    features = np.where(groups == "a", actions, 1 - actions)[:, None].astype(float)
    rated = rate_left_out(features, actions, groups, seed=0)
    assert (rated.argmax(axis=1) != actions).all()
    assert np.allclose(rated.sum(axis=1), 1)
