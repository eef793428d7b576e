"""How often an action network is right, and whether its probabilities mean what they say.

python -m training.metrics.recognition --clips CSV --model NAME|CARD --json
"""

import argparse
import csv
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from services.contracts.errors import BadInput
from training.metrics.intervals import bootstrap_interval

if TYPE_CHECKING:
    from services.action.recognize import ActionRecognizer
    from services.tracks.find import Detectors

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

_RECALLS = tuple(round(0.1 * step, 1) for step in range(1, 11))
_ABSTAINING = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
_PERSON_PROTOCOL = (
    "a clip's answer is the likeliest action by the mean over all windows of the track that moves most (mean absolute "
    "box motion); a clip in which nobody is followed counts as wrong ('nobody'), and has no part in what is ranked: "
    "areas, precision at recalls, top 5, calibration and abstaining"
)
_CLIP_PROTOCOL = (
    "a clip's answer is the likeliest action by the mean of logits over all windows of all views (the card says which: "
    "the scene, or the surroundings of everyone followed, and the scene where nobody is)"
)
_COMMON_PROTOCOL = (
    "intervals: bootstrap over groups, 1000 draws; precision at a recall: the best at that recall or above it; "
    "seconds: one clip at a time, decoding included, following people too unless their evidence was there already"
)


def softmax(logits_NK: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Probabilities (N, K), float64, of logits divided by a temperature."""
    scaled_NK = logits_NK.astype(np.float64) / temperature
    powers_NK = np.exp(scaled_NK - scaled_NK.max(axis=1, keepdims=True))
    probabilities_NK: Floats = powers_NK / powers_NK.sum(axis=1, keepdims=True)
    return probabilities_NK


def count_confusion(truth_N: Rows, answer_N: Rows, classes: int) -> Rows:
    """(K, K) counts: row the truth, column the answer."""
    confusion_KK = np.zeros((classes, classes), np.int64)
    np.add.at(confusion_KK, (truth_N, answer_N), 1)
    return confusion_KK


def f1_by_class(confusion_KK: Rows) -> Floats:
    """(K,) harmonic mean of precision and recall; nan for a class neither true nor answered."""
    right_K = np.diag(confusion_KK).astype(np.float64)
    total_K = confusion_KK.sum(axis=0) + confusion_KK.sum(axis=1)
    f1_K: Floats = np.divide(2 * right_K, total_K, out=np.full(len(right_K), np.nan), where=total_K > 0)
    return f1_K


def calibration_error(probabilities_NK: Floats, truth_N: Rows, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1: how far confidence and accuracy lie apart, over equal-width bins.

    Source: Guo et al. 2017, arXiv:1706.04599 (ECE, 15 bins).
    """
    confidence_N = probabilities_NK.max(axis=1)
    right_N = probabilities_NK.argmax(axis=1) == truth_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    gaps = [
        abs(right_N[bin_N == b].mean() - confidence_N[bin_N == b].mean()) * np.mean(bin_N == b)
        for b in np.unique(bin_N)
    ]
    return float(sum(gaps))


def swept_calibration_error(probabilities_NK: Floats, truth_N: Rows) -> float:
    """Expected calibration error, 0 to 1, over as many equally filled bins as let accuracy grow with confidence.

    On a few hundred answers fifteen bins of equal width find an error even where there is none; this finds less of it.

    Source: Roelofs et al. 2022, arXiv:2012.08668 (ECE-sweep, equal mass).
    """
    confidence_N = probabilities_NK.max(axis=1)
    order_N = np.argsort(confidence_N, kind="stable")
    confidence_N = confidence_N[order_N]
    right_N = (probabilities_NK.argmax(axis=1) == truth_N)[order_N]
    error = 0.0
    for bins in range(1, len(right_N) + 1):
        parts = np.array_split(np.arange(len(right_N)), bins)
        accuracy_B = np.array([right_N[rows].mean() for rows in parts])
        if np.any(np.diff(accuracy_B) < 0):
            break
        gaps_B = np.abs(accuracy_B - [confidence_N[rows].mean() for rows in parts])
        error = float(np.average(gaps_B, weights=[len(rows) for rows in parts]))
    return error


def fit_temperature(logits_NK: NDArray[np.floating], truth_N: Rows) -> float:
    """The temperature, 0.05 to 20, under which the truth is likeliest.

    Source: Guo et al. 2017, arXiv:1706.04599 (temperature scaling).
    """

    def surprise(log_temperature: float) -> float:
        probabilities_NK = softmax(logits_NK, float(np.exp(log_temperature)))
        return float(-np.log(probabilities_NK[np.arange(len(truth_N)), truth_N] + 1e-12).mean())

    found = minimize_scalar(surprise, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))


@dataclass(frozen=True, slots=True)
class LabelledClip:
    """A clip in which one action is done.

    Attributes:
        path: The file.
        action: What is done.
        group: Clips of one (a scene, a source) are not independent.
        factors: What else is known of it, such as its source or its light; results are told by each.
    """

    path: Path
    action: str
    group: str
    factors: Mapping[str, str] = field(default_factory=dict)


def read_clips(path: Path) -> list[LabelledClip]:
    """Read a CSV with the columns clip, action, group; clips lie beside it. Any other column is a factor.

    Raises:
        BadInput: It is absent or empty, or a column is missing.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}") from error
    needed = {"clip", "action", "group"}
    missing = needed - set(rows[0] if rows else ())
    if missing:
        raise BadInput(f"{path}: no rows, or no column {', '.join(sorted(missing))}")
    factors = [{name: value for name, value in row.items() if name and name not in needed} for row in rows]
    return [
        LabelledClip(path.parent / row["clip"], row["action"], row["group"], known)
        for row, known in zip(rows, factors, strict=True)
    ]


def measure(clips: Sequence[LabelledClip], answers: Sequence[str | None], *, seed: int = 0) -> dict[str, object]:
    """Everything the command prints; an answer of None (nobody followed) is wrong."""
    right_N = np.array([clip.action == answer for clip, answer in zip(clips, answers, strict=True)])
    interval = bootstrap_interval(
        lambda rows: float(right_N[rows].mean()), np.array([clip.group for clip in clips]), seed=seed
    )
    confusion: dict[str, dict[str, int]] = {}
    for clip, answer in zip(clips, answers, strict=True):
        row = confusion.setdefault(clip.action, {})
        row[answer or "nobody"] = row.get(answer or "nobody", 0) + 1
    by_action = _by_action(clips, answers)
    return {
        "accuracy": float(right_N.mean()),
        "accuracy_ci95": list(interval),
        "mean_class_accuracy": float(np.mean([each["recall"] for each in by_action.values()])),
        "macro_f1": float(np.mean([each["f1"] for each in by_action.values()])),
        "by_action": by_action,
        "by_factor": _by_factor(clips, right_N),
        "confusion": confusion,
        "clips": len(clips),
        "groups": len({clip.group for clip in clips}),
    }


def _by_action(clips: Sequence[LabelledClip], answers: Sequence[str | None]) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of each action that is done in some clip; of one never answered precision is 0."""
    done, said = Counter(clip.action for clip in clips), Counter(answers)
    right = Counter(clip.action for clip, answer in zip(clips, answers, strict=True) if clip.action == answer)
    return {
        action: {
            "clips": done[action],
            "precision": right[action] / max(said[action], 1),
            "recall": right[action] / done[action],
            "f1": 2 * right[action] / (said[action] + done[action]),
        }
        for action in sorted(done)
    }


def _by_factor(clips: Sequence[LabelledClip], right_N: NDArray[np.bool_]) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy for every value of every factor."""
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for clip, right in zip(clips, right_N, strict=True):
        for factor, value in clip.factors.items():
            found[factor][value].append(bool(right))
    return {
        factor: {value: {"clips": len(rights), "accuracy": float(np.mean(rights))} for value, rights in values.items()}
        for factor, values in found.items()
    }


def measure_ratings(
    clips: Sequence[LabelledClip], probabilities_NK: Floats, classes: Sequence[str], *, seed: int = 0
) -> dict[str, object]:
    """What else there is to say where every clip has probabilities."""
    from training.metrics.answers import abstention_curve, precision_at, score_answers

    truth_N = np.array([list(classes).index(clip.action) for clip in clips])
    groups_N = np.array([clip.group for clip in clips])
    scores = score_answers(probabilities_NK, truth_N, groups_N, seed=seed)
    return {
        "top5_accuracy": scores.top5,
        "auc": scores.auc,
        "auc_ci95": [scores.auc_low, scores.auc_high],
        "mean_average_precision": scores.mean_ap,
        "precision_at_recall": {
            action: dict(zip(map(str, _RECALLS), precision_at(rated_N, truth_N == index, _RECALLS), strict=True))
            for index, (action, rated_N) in enumerate(zip(classes, probabilities_NK.T, strict=True))
            if (truth_N == index).any()
        },
        "calibration_error": scores.calibration_error,
        "swept_calibration_error": scores.swept_calibration_error,
        "accuracy_of_surest_nine_tenths": scores.top1_of_surest,
        "accuracy_by_share_abstaining": dict(
            zip(map(str, _ABSTAINING), abstention_curve(probabilities_NK, truth_N, _ABSTAINING), strict=True)
        ),
    }


def measure_times(wall_seconds: Sequence[float], processor_seconds: Sequence[float]) -> dict[str, object]:
    """What a clip's answer cost, file to probabilities."""
    return {
        "seconds_a_clip": {
            "median": float(np.median(wall_seconds)),
            "p95": float(np.quantile(wall_seconds, 0.95)),
            "processor_median": float(np.median(processor_seconds)),
        }
    }


def measure_abstention(
    clips: Sequence[LabelledClip], probabilities_NK: Floats, classes: Sequence[str], threshold: float
) -> dict[str, object]:
    """How many answers lie below the card's own threshold, and how often the others are right."""
    sure_N = probabilities_NK.max(axis=1) >= threshold
    answer_N = probabilities_NK.argmax(axis=1)
    right_N = np.array([clip.action == classes[answer] for clip, answer in zip(clips, answer_N, strict=True)])
    return {
        "abstained": int((~sure_N).sum()),
        "accuracy_of_the_rest": float(right_N[sure_N].mean()) if sure_N.any() else None,
    }


def rate_mover(clip: Path, detectors: "Detectors", recognizer: "ActionRecognizer", evidence_root: str) -> Floats | None:
    """Probabilities (K,) of what who moves most does, by the mean of their windows; None: nobody is there."""
    from services.client import refer_to_clip
    from services.contracts.tracks import TracksRequest
    from services.perception.evidence import open_evidence
    from services.perception.windows import cut_windows
    from services.tracks.find import find_tracks

    response = find_tracks(TracksRequest(clip=refer_to_clip(clip)), detectors, evidence_root)
    most, rated_K = -1.0, None
    with open_evidence(response.evidence.uri, response.evidence.sha256) as evidence:
        for track_id in evidence.track_ids():
            windows = list(cut_windows(evidence.strip(track_id), recognizer.window))
            if not windows:
                continue
            # The last motion channel is a shape, not a speed.
            activity = float(np.abs([window.motion[:, :-1] for window in windows]).mean())
            if activity > most:
                most, rated_K = activity, recognizer.rate_windows(windows).probabilities.mean(axis=0)
    return rated_K


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, analyse every clip, measure, print."""
    from services.action.recognize import ActionRecognizer
    from services.console import ProgressBars
    from services.models.engine import load_network
    from services.models.store import ModelStore
    from services.settings import read_settings
    from services.tracks.find import Detectors
    from training.clips.recognizer import ClipRecognizer
    from training.metrics.models import find_recognizer

    parser = argparse.ArgumentParser(prog="training.metrics.recognition", description="Accuracy on labelled clips.")
    parser.add_argument(
        "--clips", type=Path, required=True, help="CSV: clip,action,group and any factors; clips beside it"
    )
    parser.add_argument(
        "--model",
        required=True,
        help="name, name@version, sha256, card.json, or champion: the one whose classes hold the actions",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--json", action="store_true", help="print JSON (the default is a summary)")
    options = parser.parse_args(arguments)

    clips = read_clips(options.clips)
    settings = read_settings()
    card, weights_path = find_recognizer(options.model, {clip.action for clip in clips})
    network = load_network(card, weights_path, device=settings.device)
    view = card.window.view if card.window else "person"
    detectors = None if view == "scene" else Detectors.load(ModelStore(settings.models), device=settings.device)
    rated: list[Floats | None] = []
    walls, processors = [], []
    with ProgressBars(unit="clips") as bars:
        for done, clip in enumerate(clips):
            bars.advance_to("clips", done, len(clips))
            began, began_processor = time.perf_counter(), time.process_time()
            if view == "person" and detectors:
                rated.append(rate_mover(clip.path, detectors, ActionRecognizer(card, network), settings.evidence))
            else:
                rated.append(ClipRecognizer(card, network, detectors).rate(clip.path, settings.evidence))
            walls.append(time.perf_counter() - began)
            processors.append(time.process_time() - began_processor)
        bars.advance_to("clips", len(clips), len(clips))
    assert card.action is not None  # the card's validator
    answers = [None if rated_K is None else card.classes[int(rated_K.argmax())] for rated_K in rated]
    answer = {"model": f"{card.name}@{card.version}", **measure(clips, answers, seed=options.seed)}
    if somebody := [(clip, rated_K) for clip, rated_K in zip(clips, rated, strict=True) if rated_K is not None]:
        known, rated_NK = [clip for clip, _ in somebody], np.stack([rated_K for _, rated_K in somebody])
        answer |= measure_ratings(known, rated_NK, card.classes, seed=options.seed)
        answer |= measure_abstention(known, rated_NK, card.classes, card.action.abstain_below)
    answer |= measure_times(walls, processors)
    answer["protocol"] = f"{_PERSON_PROTOCOL if view == 'person' else _CLIP_PROTOCOL}; {_COMMON_PROTOCOL}"
    if options.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{name}: {value}\n" for name, value in answer.items())


if __name__ == "__main__":
    from training.stages.entry import run

    run(main)
