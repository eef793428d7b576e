import numpy as np
import pytest

from training.metrics.intervals import bootstrap_interval


def test_independent_rows_give_the_binomial_interval():
    right = np.arange(400) < 300
    lower, upper = bootstrap_interval(lambda rows: right[rows].mean(), np.arange(400).astype(str), draws=2000, seed=1)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert (lower, upper) == pytest.approx((0.75 - half, 0.75 + half), abs=0.006)


def test_rows_of_one_group_count_as_one():
    right = np.repeat([True, False], 200)
    lower, upper = bootstrap_interval(lambda rows: right[rows].mean(), np.repeat(["a", "b"], 200))
    assert (lower, upper) == (0.0, 1.0)


def test_no_rows_no_interval():
    with pytest.raises(ValueError, match="no rows"):
        bootstrap_interval(lambda rows: 0.0, np.array([], dtype=str))
