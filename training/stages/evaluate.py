"""Stage evaluate: calibrate on validation people, then measure on people never met.

Temperature and segment thresholds are chosen on the validation side alone; the held-out side is
measured once with them. Names are taken from the truth here, so the events F1 is that of actions
and times; the graph as a whole is measured elsewhere.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.action.segments import WindowProbabilities, find_segments
from services.contracts.card import ActionCalibration
from training.config import EvaluateParams, read_config
from training.datasets.splits import refuse_leak
from training.datasets.windows import WindowSet
from training.lessons.action import predict_logits
from training.metrics.events import Claim, Happening, score_events
from training.metrics.intervals import bootstrap_interval
from training.metrics.recognition import calibration_error, count_confusion, f1_by_class, fit_temperature, softmax
from training.runs import reopen_run
from training.stages.entry import run
from training.stages.prepare import RESULTS as PREPARED
from training.stages.prepare import read_truth
from training.stages.train_action import RESULTS as TRAINED
from training.stages.train_action import load_trained

RESULTS = Path("build/evaluate")

Floats = NDArray[np.float64]


def main() -> None:
    """Leave `calibration.json` and `metrics.json` in `build/evaluate`."""
    params = read_config().evaluate
    sides = {side: WindowSet.load(PREPARED / f"{side}.npz") for side in ("train", "validation", "heldout")}
    refuse_leak({side: windows.subjects() for side, windows in sides.items()})
    validation, heldout = sides["validation"], sides["heldout"]
    network = load_trained(validation)

    logits_NK = predict_logits(network, validation)
    named_N = validation.actions >= 0
    temperature = fit_temperature(logits_NK[named_N], validation.actions[named_N])
    calibration = choose_calibration(
        validation, softmax(logits_NK, temperature), read_truth("validation"), temperature, params
    )
    probabilities_NK = softmax(predict_logits(network, heldout), temperature)
    metrics = measure_windows(heldout, probabilities_NK, params)
    metrics |= measure_events(heldout, probabilities_NK, read_truth("heldout"), calibration, params)

    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "calibration.json").write_text(calibration.model_dump_json(indent=2) + "\n")
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    with reopen_run(json.loads((TRAINED / "run.json").read_text())["run_id"]) as tracked:
        tracked.log_metrics({f"heldout.{name}": value for name, value in metrics.items()})
        tracked.log_folder(RESULTS, "evaluate")


def choose_calibration(
    windows: WindowSet,
    probabilities_NK: Floats,
    truths: list[Happening],
    temperature: float,
    params: EvaluateParams,
) -> ActionCalibration:
    """The thresholds of the grid with the best events F1; of equals, the middle one."""
    grid = [
        ActionCalibration(
            temperature=temperature, switch_cost=cost, minimum_probability=probability, minimum_seconds=seconds
        )
        for cost in params.switch_costs
        for probability in params.minimum_probabilities
        for seconds in params.minimum_seconds
    ]
    f1s = [
        score_events(truths, make_claims(windows, probabilities_NK, calibration), minimum_iou=params.temporal_iou).f1
        for calibration in grid
    ]
    best = [calibration for calibration, f1 in zip(grid, f1s, strict=True) if f1 == max(f1s)]
    return best[len(best) // 2]


def make_claims(windows: WindowSet, probabilities_NK: Floats, calibration: ActionCalibration) -> list[Claim]:
    """Segments of every track, each in the name of the person the truth sees there most."""
    claims = []
    tracks_N2 = np.stack([windows.clips, windows.tracks], axis=1)
    for clip, track in np.unique(tracks_N2, axis=0):
        rows = np.flatnonzero((windows.clips == clip) & (windows.tracks == track))
        rows = rows[np.argsort(windows.starts_seconds[rows], kind="stable")]
        seen = windows.subject_ids[rows]
        names, counts = np.unique(seen[seen != ""], return_counts=True)
        subject = str(names[counts.argmax()]) if len(names) else None
        probabilities = WindowProbabilities(
            windows.starts_seconds[rows], windows.ends_seconds[rows], probabilities_NK[rows]
        )
        segments = find_segments(str(track), probabilities, windows.classes.tolist(), calibration)
        for segment in segments:
            claims.append(
                Claim(
                    clip=str(clip),
                    subject_id=subject,
                    action=segment.action.name,
                    start_seconds=segment.start_seconds,
                    end_seconds=segment.end_seconds,
                    shown_id=subject,
                )
            )
    return claims


def measure_windows(windows: WindowSet, probabilities_NK: Floats, params: EvaluateParams) -> dict[str, float]:
    """Accuracy with its interval (bootstrap over subjects), F1 by action, calibration error."""
    named_N = windows.actions >= 0
    truth_N, kept_NK = windows.actions[named_N], probabilities_NK[named_N]
    answer_N = kept_NK.argmax(axis=1)
    right_N = answer_N == truth_N
    low, high = bootstrap_interval(
        lambda rows: float(right_N[rows].mean()),
        windows.subject_ids[named_N],
        draws=params.bootstrap_draws,
        seed=params.seed,
    )
    confusion_KK = count_confusion(truth_N, answer_N, len(windows.classes))
    f1_K = f1_by_class(confusion_KK)
    return {
        "windows": len(truth_N),
        "subjects": len(windows.subjects()),
        "window_accuracy": float(right_N.mean()),
        "window_accuracy_low": low,
        "window_accuracy_high": high,
        "window_accuracy_of_the_commonest_action": float(np.bincount(truth_N).max() / len(truth_N)),
        "calibration_error": calibration_error(kept_NK, truth_N),
        **{f"f1_{name}": float(f1) for name, f1 in zip(windows.classes, f1_K, strict=True) if np.isfinite(f1)},
    }


def measure_events(
    windows: WindowSet,
    probabilities_NK: Floats,
    truths: list[Happening],
    calibration: ActionCalibration,
    params: EvaluateParams,
) -> dict[str, float]:
    """Events F1, its interval by a bootstrap over clips, and what it is made of."""
    claims = make_claims(windows, probabilities_NK, calibration)
    clips = sorted({truth.clip for truth in truths})
    by_clip = [
        score_events(
            [truth for truth in truths if truth.clip == clip],
            [claim for claim in claims if claim.clip == clip],
            minimum_iou=params.temporal_iou,
        )
        for clip in clips
    ]
    counts_C3 = np.array([(score.matched, score.truths, score.claims) for score in by_clip])

    def f1(rows: NDArray[np.int64]) -> float:
        matched, true, claimed = counts_C3[rows].sum(axis=0)
        return float(2 * matched / (true + claimed))

    low, high = bootstrap_interval(f1, np.array(clips), draws=params.bootstrap_draws, seed=params.seed)
    whole = score_events(truths, claims, minimum_iou=params.temporal_iou)
    return {
        "events_f1": whole.f1,
        "events_f1_low": low,
        "events_f1_high": high,
        "events_precision": whole.precision,
        "events_recall": whole.recall,
        "events_true": whole.truths,
        "events_claimed": whole.claims,
    }


if __name__ == "__main__":
    run(main)
