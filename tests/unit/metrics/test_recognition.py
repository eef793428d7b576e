import math
from pathlib import Path

import numpy as np
import pytest

from services.contracts.errors import BadInput
from training.metrics.recognition import (
    LabelledClip,
    calibration_error,
    count_confusion,
    f1_by_class,
    fit_temperature,
    measure,
    measure_ratings,
    measure_times,
    read_clips,
    softmax,
    swept_calibration_error,
)

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(size=(60, 4)) * 2
TRUTH = RNG.integers(4, size=60)


def test_softmax_is_exponentials_over_their_sum():
    for row, logits in zip(softmax(LOGITS, 1.7), LOGITS, strict=True):
        powers = [math.exp(v / 1.7) for v in logits]
        assert row == pytest.approx([p / sum(powers) for p in powers])


def test_confusion_counts_truth_in_rows():
    answers = LOGITS.argmax(1)
    confusion = count_confusion(TRUTH, answers, 4)
    for t in range(4):
        for a in range(4):
            assert confusion[t, a] == sum(x == t and y == a for x, y in zip(TRUTH, answers, strict=True))


def test_f1_is_the_harmonic_mean_and_absent_classes_have_none():
    confusion = np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])
    precision, recall = 3 / 5, 3 / 4
    f1 = f1_by_class(confusion)
    assert f1[0] == pytest.approx(2 * precision * recall / (precision + recall))
    assert math.isnan(f1[2])


def test_calibration_error_by_slow_loops():
    probabilities = softmax(LOGITS)
    slow = 0.0
    for b in range(15):
        inside = [
            (max(p), int(np.argmax(p)) == t)
            for p, t in zip(probabilities, TRUTH, strict=True)
            if b / 15 <= max(p) < (b + 1) / 15
        ]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(r for _, r in inside) / len(inside)
            slow += abs(confidence - accuracy) * len(inside) / 60
    assert calibration_error(probabilities, TRUTH) == pytest.approx(slow)


def test_the_swept_error_stops_where_accuracy_would_fall():
    confidence = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    # Of two bins the surer is right more often, of three it is not: two count.
    truth = np.array([1, 0, 1, 1, 0, 0])
    assert swept_calibration_error(probabilities, truth) == pytest.approx((abs(1 / 3 - 0.6) + abs(2 / 3 - 0.9)) / 2)


def test_the_swept_error_by_slow_loops():
    rng = np.random.default_rng(0)
    for count in [1, 2, 3, 5, 6, 7, 8, 11] * 20:
        # Three classes, so that confidence may lie below and above accuracy; in no order.
        probabilities = softmax(rng.normal(size=(count, 3)) * 2)
        truth = np.where(rng.random(count) < 0.6, probabilities.argmax(1), rng.integers(3, size=count))
        rated = sorted((max(p), int(np.argmax(p)) == t) for p, t in zip(probabilities, truth, strict=True))
        slow = 0.0
        for bins in range(1, count + 1):
            # The first bins take one more each where answers do not divide evenly.
            sizes = [count // bins + (b < count % bins) for b in range(bins)]
            filled = [rated[sum(sizes[:b]) : sum(sizes[: b + 1])] for b in range(bins)]
            accuracies = [sum(right for _, right in each) / len(each) for each in filled]
            if accuracies != sorted(accuracies):
                break
            confidences = [sum(confidence for confidence, _ in each) / len(each) for each in filled]
            gaps = [abs(a - c) * size for a, c, size in zip(accuracies, confidences, sizes, strict=True)]
            slow = sum(gaps) / count
        assert swept_calibration_error(probabilities, truth) == pytest.approx(slow)


def test_the_swept_error_of_few_calibrated_answers_is_smaller_than_that_of_bins_of_equal_width():
    rng = np.random.default_rng(0)
    swept, equal_width = [], []
    for _ in range(50):
        confidence = rng.uniform(0.5, 1, 100)
        probabilities = np.stack([confidence, 1 - confidence], axis=1)
        truth = (rng.random(100) > confidence).astype(np.int64)
        swept.append(swept_calibration_error(probabilities, truth))
        equal_width.append(calibration_error(probabilities, truth))
    assert np.mean(swept) < 0.7 * np.mean(equal_width)


def test_temperature_of_overconfident_logits_is_found():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3))
    truth = np.array([rng.choice(3, p=p) for p in softmax(logits)])
    assert fit_temperature(logits * 4, truth) == pytest.approx(4, rel=0.08)


def test_a_list_of_clips_is_read_beside_itself(tmp_path):
    (tmp_path / "clips.csv").write_text("clip,action,group\na/b.mp4,wave,scene1\n")
    assert read_clips(tmp_path / "clips.csv") == [LabelledClip(tmp_path / "a" / "b.mp4", "wave", "scene1")]
    (tmp_path / "clips.csv").write_text("clip,source,action,group\nb.mp4,ours,wave,scene1\n")
    (clip,) = read_clips(tmp_path / "clips.csv")
    assert clip.factors == {"source": "ours"}


@pytest.mark.parametrize(("text", "message"), [("clip,action\na,b\n", "group"), ("clip,action,group\n", "no rows")])
def test_a_malformed_list_of_clips_is_refused(tmp_path, text, message):
    (tmp_path / "clips.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_clips(tmp_path / "clips.csv")


def test_clips_are_counted_by_truth_and_answer_and_an_unanswered_one_is_wrong():
    clips = [LabelledClip(Path(f"{i}.mp4"), action, f"g{i}") for i, action in enumerate(["wave", "wave", "run"])]
    answer = measure(clips, ["wave", None, "wave"])
    assert answer["by_action"] == {
        "run": {"clips": 1, "precision": 0.0, "recall": 0.0, "f1": 0.0},
        "wave": {"clips": 2, "precision": 0.5, "recall": 0.5, "f1": 0.5},
    }
    assert answer["mean_class_accuracy"] == answer["macro_f1"] == 0.25
    assert answer["accuracy"] == pytest.approx(1 / 3)
    assert answer["confusion"] == {"wave": {"wave": 1, "nobody": 1}, "run": {"wave": 1}}
    assert answer["groups"] == 3


def test_results_are_told_by_every_factor():
    sources = ["near", "near", "far"]
    clips = [LabelledClip(Path(f"{i}.mp4"), "wave", f"g{i}", {"distance": source}) for i, source in enumerate(sources)]
    assert measure(clips, ["wave", "run", "wave"])["by_factor"] == {
        "distance": {"near": {"clips": 2, "accuracy": 0.5}, "far": {"clips": 1, "accuracy": 1.0}}
    }


def test_ratings_are_ranked_and_the_least_sure_abstain():
    clips = [LabelledClip(Path(f"{i}.mp4"), action, f"g{i}") for i, action in enumerate(["wave", "run", "wave", "run"])]
    rated = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    found = measure_ratings(clips, rated, ["wave", "run"])
    assert found["top5_accuracy"] == 1.0
    assert found["precision_at_recall"]["wave"]["0.5"] == 1.0
    assert found["precision_at_recall"]["wave"]["1.0"] == pytest.approx(2 / 3)
    assert found["accuracy_by_share_abstaining"]["0.0"] == 0.75
    assert found["accuracy_by_share_abstaining"]["0.5"] == 1.0


def test_times_are_told_by_their_middle_and_their_tail():
    told = measure_times([1.0, 2.0, 9.0], [0.5, 0.5, 0.5])["seconds_a_clip"]
    assert told["median"] == 2.0
    assert 8 < told["p95"] <= 9
    assert told["processor_median"] == 0.5
