import numpy as np
import pytest

from training.promotion.comparison import Tally, compare


def test_the_ratio_is_that_of_the_sums():
    assert Tally({"a": (1, 2), "b": (3, 8)}).ratio == pytest.approx(0.4)


def test_the_interval_is_that_of_a_slow_bootstrap():
    rng = np.random.default_rng(0)
    names = [f"g{i}" for i in range(7)]
    first = Tally({name: (float(rng.integers(5, 10)), 10.0) for name in names})
    second = Tally({name: (float(rng.integers(0, 10)), 12.0) for name in names})
    found = compare(first, second, draws=400, seed=3)
    drawn = np.random.default_rng(3).integers(7, size=(400, 7))
    slow = []
    for draw in drawn:
        ratios = []
        for tally in (first, second):
            picked = [tally.groups[names[i]] for i in draw]
            ratios.append(sum(hits for hits, _ in picked) / sum(chances for _, chances in picked))
        slow.append(ratios[0] - ratios[1])
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])))
    assert found.value == pytest.approx(first.ratio - second.ratio)


def test_the_same_answers_differ_by_nothing_at_all():
    tally = Tally({"a": (1, 2), "b": (3, 8), "c": (0, 4)})
    difference = compare(tally, tally, draws=50, seed=0)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_different_groups_cannot_be_paired():
    with pytest.raises(ValueError, match="same groups"):
        compare(Tally({"a": (1, 2)}), Tally({"b": (1, 2)}), draws=10, seed=0)
    with pytest.raises(ValueError, match="at least one"):
        compare(Tally({}), Tally({}), draws=10, seed=0)
