import numpy as np
import pytest
from sklearn.metrics import f1_score

from tests.unit.metrics.test_answers import slow_average_precision
from training.metrics.overlaps import (
    average_precisions,
    choose_thresholds,
    fit_chances,
    score_overlaps,
    to_chances,
)

RNG = np.random.default_rng(4)
CHANCES = RNG.random((60, 3))
DONE = RNG.random((60, 3)) < CHANCES
GROUPS = np.array([f"g{i // 6}" for i in range(60)])


def test_average_precision_by_slow_loops_knows_nothing_of_what_nobody_does():
    done = DONE.copy()
    done[:, 1] = False
    ap = average_precisions(CHANCES, done)
    assert ap[0] == pytest.approx(slow_average_precision(CHANCES[:, 0], done[:, 0]))
    assert np.isnan(ap[1])


def test_scores_by_slow_loops():
    said = CHANCES >= 0.5
    scores = score_overlaps(CHANCES, said, DONE, GROUPS, draws=50)
    assert scores.f1 == pytest.approx([f1_score(DONE[:, k], said[:, k]) for k in range(3)])
    assert scores.macro_f1 == pytest.approx(scores.f1.mean())
    assert scores.precision[2] == pytest.approx((said & DONE)[:, 2].sum() / said[:, 2].sum())
    assert scores.recall[2] == pytest.approx((said & DONE)[:, 2].sum() / DONE[:, 2].sum())
    assert scores.chance_ap == pytest.approx(DONE.mean())
    assert scores.mean_ap_low <= scores.mean_ap <= scores.mean_ap_high
    slow = 0.0
    for low in np.arange(15) / 15:
        inside = (low <= CHANCES) & (low + 1 / 15 > CHANCES)
        slow += abs(CHANCES[inside].sum() - DONE[inside].sum()) / CHANCES.size
    assert scores.calibration_error == pytest.approx(slow)


def test_thresholds_are_the_best_of_all_there_could_be():
    for action, threshold in enumerate(choose_thresholds(CHANCES, DONE)):
        best = max(f1_score(DONE[:, action], CHANCES[:, action] >= at) for at in CHANCES[:, action])
        assert f1_score(DONE[:, action], CHANCES[:, action] >= threshold) == pytest.approx(best)


def test_equal_probabilities_are_said_together_and_what_nobody_does_is_not_said():
    chances = np.array([[0.9, 0.2], [0.4, 0.9], [0.4, 0.1], [0.4, 0.3]])
    done = np.array([[True, False], [True, False], [False, False], [False, False]])
    assert choose_thresholds(chances, done).tolist() == [0.65, 1.0]


def test_chances_come_true_as_often_as_they_say():
    truth = RNG.random(4000)
    done = (RNG.random(4000) < truth)[:, None]
    wrong = 3 * np.log(truth / (1 - truth))[:, None] + 2
    scales, shifts = fit_chances(wrong, done)
    assert to_chances(wrong, scales, shifts)[:, 0] == pytest.approx(truth, abs=0.03)
    assert fit_chances(wrong, np.ones_like(done)) == (1.0, 0.0)
