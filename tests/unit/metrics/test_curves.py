import numpy as np
import pytest

from training.metrics.baselines import score_heads
from training.metrics.clustering import cluster_faces, score_clusters
from training.metrics.curves import trace_errors
from training.metrics.plots import draw_det, draw_roc
from training.metrics.pooling import pool_templates


def slow_errors(similarity, same, threshold):
    accepted = [s >= threshold for s in similarity]
    impostors = [a for a, genuine in zip(accepted, same, strict=True) if not genuine]
    genuine = [a for a, g in zip(accepted, same, strict=True) if g]
    return sum(impostors) / len(impostors), 1 - sum(genuine) / len(genuine)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    same = rng.random(60) < 0.4
    # Rounded, so that there are ties.
    return np.round(rng.normal(same * 1.0, 1.0), 1), same


def test_errors_agree_with_a_slow_recomputation_at_every_threshold(pairs):
    curve = trace_errors(*pairs)
    for threshold, acceptance, rejection in zip(
        curve.thresholds, curve.false_acceptance, curve.false_rejection, strict=True
    ):
        assert (acceptance, rejection) == pytest.approx(slow_errors(*pairs, threshold))
    assert len(set(curve.thresholds)) == len(curve.thresholds)


def test_the_equal_error_rate_lies_between_the_errors_around_it(pairs):
    curve = trace_errors(*pairs)
    crossing = np.argmax(curve.false_acceptance >= curve.false_rejection)
    low = min(curve.false_acceptance[crossing - 1], curve.false_rejection[crossing])
    high = max(curve.false_acceptance[crossing], curve.false_rejection[crossing - 1])
    assert low <= curve.equal_error_rate <= high


def test_perfect_and_worthless_similarities():
    same = np.array([True, True, False, False])
    assert trace_errors(np.array([0.9, 0.8, 0.1, 0.2]), same).equal_error_rate == 0
    assert trace_errors(np.array([0.1, 0.2, 0.9, 0.8]), same).equal_error_rate == 1
    assert trace_errors(np.zeros(4), same).equal_error_rate == pytest.approx(0.5)
    with pytest.raises(ValueError, match="pairs of two"):
        trace_errors(np.zeros(2), np.array([True, True]))


def slow_clusters(cluster, subject):
    n = len(cluster)
    pairs = [(i, j) for i in range(n) for j in range(i)]
    together = [(i, j) for i, j in pairs if cluster[i] == cluster[j]]
    true = [(i, j) for i, j in pairs if subject[i] == subject[j]]
    right = len(set(together) & set(true))
    precision = recall = 0.0
    for i in range(n):
        own = {j for j in range(n) if cluster[j] == cluster[i]}
        real = {j for j in range(n) if subject[j] == subject[i]}
        precision += len(own & real) / len(own) / n
        recall += len(own & real) / len(real) / n
    return right / len(together), right / len(true), precision, recall


def test_clusters_agree_with_a_slow_recomputation():
    rng = np.random.default_rng(1)
    cluster, subject = rng.integers(0, 4, 30), rng.integers(0, 5, 30)
    scores = score_clusters(cluster, subject)
    ours = (scores.pair_precision, scores.pair_recall, scores.bcubed_precision, scores.bcubed_recall)
    assert ours == pytest.approx(slow_clusters(cluster, subject))
    assert score_clusters(subject, subject).bcubed_f1 == 1
    assert score_clusters(np.arange(30), subject).pair_precision == 1


def test_faces_group_by_direction():
    rng = np.random.default_rng(2)
    centres = np.eye(4)[[0, 0, 0, 1, 1, 2]] + 0.05 * rng.normal(size=(6, 4))
    vectors = (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)
    groups = cluster_faces(vectors, 0.5)
    assert score_clusters(groups, np.array([0, 0, 0, 1, 1, 2])).pair_f1 == 1
    assert len(set(cluster_faces(vectors, -1.0))) == 1


def test_templates_are_weighted_means():
    vectors = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    template = np.array([0, 0, 1, 1])
    np.testing.assert_allclose(pool_templates(vectors, template), np.full((2, 2), 0.5**0.5), atol=1e-6)
    weighted = pool_templates(vectors, template, np.array([1, 0, 0, 0], np.float32))
    np.testing.assert_allclose(weighted, [[1, 0], [0.5**0.5, 0.5**0.5]], atol=1e-6)


def test_heads_tell_separate_subjects_apart_and_guess_at_noise():
    rng = np.random.default_rng(3)
    subject = np.repeat(np.arange(6), 5)
    apart = (np.eye(6)[subject] + 0.1 * rng.normal(size=(30, 6))).astype(np.float32)
    assert score_heads(apart, subject, seed=0) == dict.fromkeys(("nearest", "3-nn", "svm", "forest"), 1.0)
    assert score_heads(rng.normal(size=(30, 6)).astype(np.float32), subject, seed=0)["nearest"] < 0.8
    with pytest.raises(ValueError, match="two subjects"):
        score_heads(apart[:5], subject[:5], seed=0)


@pytest.mark.parametrize("draw", [draw_roc, draw_det])
def test_a_curve_is_drawn_alike_every_time(draw, pairs, tmp_path):
    curve = trace_errors(*pairs)
    for name in ("a.png", "b.png"):
        draw({"one": curve}, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
