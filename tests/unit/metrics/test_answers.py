import numpy as np
import pytest

from training.metrics.answers import (
    abstention_curve,
    abstention_threshold,
    mean_average_precision,
    precision_at,
    score_answers,
    top_k,
)

RNG = np.random.default_rng(2)
PROBABILITIES = RNG.dirichlet(np.ones(7), size=80)
TRUTH = RNG.integers(7, size=80)
GROUPS = np.array([f"g{i // 8}" for i in range(80)])


def test_top_k_counts_truths_among_the_likeliest():
    for k in (1, 2, 5, 7):
        slow = sum(TRUTH[i] in sorted(range(7), key=lambda a: -PROBABILITIES[i, a])[:k] for i in range(80)) / 80
        assert top_k(PROBABILITIES, TRUTH, k) == pytest.approx(slow)


def slow_average_precision(scores, truths):
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, total = 0, 0.0
    for rank, i in enumerate(order, start=1):
        if truths[i]:
            hits += 1
            total += hits / rank
    return total / hits


def test_mean_average_precision_by_slow_loops_leaves_out_absent_actions():
    is_true = RNG.random((40, 3)) < 0.3
    is_true[:, 2] = False
    scores = RNG.random((40, 3))
    slow = np.mean([slow_average_precision(scores[:, k], is_true[:, k]) for k in range(2)])
    assert mean_average_precision(scores, is_true) == pytest.approx(slow)


def test_area_of_several_actions_counts_a_tie_as_half_and_leaves_out_what_never_happened():
    truth = RNG.integers(0, 3, 50)
    table = np.round(RNG.dirichlet(np.ones(4), 50), 1)
    slow = []
    for k in range(3):
        pairs = [(a, b) for a in table[truth == k, k] for b in table[truth != k, k]]
        slow.append(np.mean([(a > b) + (a == b) / 2 for a, b in pairs]))
    assert score_answers(table, truth, np.arange(50).astype(str), draws=1).auc == pytest.approx(np.mean(slow))


def test_area_of_two_actions_is_the_share_of_pairs_in_order():
    probability = RNG.random(60)
    truth = (RNG.random(60) < probability).astype(np.int64)
    table = np.stack([1 - probability, probability], axis=1)
    pairs = [(a, b) for a in probability[truth == 1] for b in probability[truth == 0]]
    scores = score_answers(table, truth, np.arange(60).astype(str), draws=20)
    assert scores.auc == pytest.approx(np.mean([a > b for a, b in pairs]))
    assert scores.auc_low <= scores.auc <= scores.auc_high


def test_mean_class_accuracy_weighs_actions_alike():
    truth = np.array([0] * 9 + [1])
    answers = np.tile([0.9, 0.1], (10, 1))
    scores = score_answers(answers, truth, np.arange(10).astype(str), draws=20)
    assert scores.top1 == pytest.approx(0.9)
    assert scores.mean_class == pytest.approx(0.5)


def test_intervals_redraw_groups_not_rows():
    truth = np.zeros(80, np.int64)
    answers = np.zeros((80, 2))
    answers[:, 0] = np.repeat([0.9, 0.1], 40)
    answers[:, 1] = 1 - answers[:, 0]
    rows = score_answers(answers, truth, np.arange(80).astype(str), draws=200)
    groups = score_answers(answers, truth, np.repeat(["a", "b"], 40), draws=200)
    assert groups.top1_high - groups.top1_low > rows.top1_high - rows.top1_low


def test_abstaining_removes_the_least_sure_first():
    answers = np.array([[0.9, 0.1], [0.8, 0.2], [0.55, 0.45], [0.7, 0.3]])
    truth = np.array([0, 0, 1, 0])
    assert abstention_curve(answers, truth, (0.0, 0.25)) == [0.75, 1.0]


def test_the_threshold_leaves_the_stated_share_below():
    threshold = abstention_threshold(PROBABILITIES, 0.1)
    assert np.mean(PROBABILITIES.max(axis=1) < threshold) == pytest.approx(0.1, abs=0.02)


def test_precision_at_a_recall_by_slow_loops():
    scores, is_true = np.round(RNG.random(50), 1), RNG.random(50) < 0.3
    for wanted, found in zip((0.3, 1.0), precision_at(scores, is_true, (0.3, 1.0)), strict=True):
        points = [(is_true[scores >= at].sum() / is_true.sum(), is_true[scores >= at].mean()) for at in set(scores)]
        assert found == pytest.approx(max(precision for recall, precision in points if recall >= wanted))
