import json

import numpy as np
import pytest

from services.contracts.errors import BadInput
from training.metrics.verification import Pairs, accept_at, judge_pairs, measure, pick_threshold, read_pairs

RNG = np.random.default_rng(2)
SAME = RNG.random(120) < 0.5
SIMILARITY = np.round(RNG.normal(np.where(SAME, 0.6, 0.3), 0.15), 2)
FOLD = (np.arange(120) % 4).astype(str)


def slow_accuracy(threshold, similarity, same):
    return sum((s >= threshold) == t for s, t in zip(similarity, same, strict=True)) / len(same)


def test_no_threshold_is_right_more_often_than_the_picked_one():
    picked = pick_threshold(SIMILARITY, SAME)
    best = max(slow_accuracy(t, SIMILARITY, SAME) for t in np.arange(-1, 1.5, 0.005))
    assert slow_accuracy(picked, SIMILARITY, SAME) == pytest.approx(best)


@pytest.mark.parametrize("same", [True, False])
def test_threshold_when_all_pairs_are_alike(same):
    similarity = np.array([0.2, 0.4])
    flags = np.array([same, same])
    assert ((similarity >= pick_threshold(similarity, flags)) == same).all()


def test_a_fold_is_judged_by_a_threshold_from_the_others():
    right = judge_pairs(SIMILARITY, SAME, FOLD)
    for fold in np.unique(FOLD):
        others = fold != FOLD
        threshold = pick_threshold(SIMILARITY[others], SAME[others])
        for i in np.flatnonzero(fold == FOLD):
            assert right[i] == ((SIMILARITY[i] >= threshold) == SAME[i])


def test_one_fold_has_no_others():
    with pytest.raises(BadInput, match="other folds"):
        judge_pairs(SIMILARITY, SAME, np.array(["1"] * 120))


@pytest.mark.parametrize("far", [0.1, 0.05, 0.02])
def test_acceptance_by_trying_every_threshold(far):
    genuine, impostors = SIMILARITY[SAME], SIMILARITY[~SAME]
    slow = 0.0
    for t in np.unique(np.concatenate([SIMILARITY, SIMILARITY + 1e-6])):
        if sum(v >= t for v in impostors) / len(impostors) <= far:
            slow = max(slow, sum(v >= t for v in genuine) / len(genuine))
    assert accept_at(SIMILARITY, SAME, far) == pytest.approx(slow)


def pairs(same=SAME, fold=FOLD):
    paths = np.array([[f"p{i // 2}/a.jpg", f"p{i // 2}/b.jpg"] for i in range(len(same))])
    return Pairs(fold, paths, same)


def test_an_undetected_face_is_wrong_and_rejected():
    clear = np.where(SAME, 0.9, 0.1)
    undetected = np.zeros(120, bool)
    undetected[[np.flatnonzero(SAME)[0], np.flatnonzero(~SAME)[0]]] = True
    answer = measure(pairs(), clear, undetected)
    assert answer["undetected"] == 2
    assert answer["accuracy"] == pytest.approx(118 / 120)
    assert answer["tar_at_far"]["0.1"] == pytest.approx((SAME.sum() - 1) / SAME.sum())


def test_the_answer_is_json_with_an_interval_around_its_accuracy():
    answer = json.loads(json.dumps(measure(pairs(), SIMILARITY, np.zeros(120, bool))))
    low, high = answer["accuracy_ci95"]
    assert low < answer["accuracy"] < high
    assert "0.001" not in answer["tar_at_far"]


def test_a_list_of_one_fold_is_cut_in_parts_and_says_so():
    answer = measure(pairs(fold=np.array(["0"] * 120)), SIMILARITY, np.zeros(120, bool))
    assert "interleaved" in answer["protocol"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fold,path_a,same\n1,a,1\n", "path_b"),
        ("fold,path_a,path_b,same\n", "no rows"),
        ("fold,path_a,path_b,same\n1,a,b,yes\n", "'yes'; expected 0 or 1"),
    ],
)
def test_a_malformed_list_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_pairs(tmp_path / "pairs.csv")
