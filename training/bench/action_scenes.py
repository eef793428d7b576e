"""Rendered scenes nobody trained on: what an action network gets right there as it is served, and how sure it is."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.action.recognize import ActionRecognizer
from services.tracks.find import Detectors
from training.bench.accuracy import BOX_IOU, TEMPORAL_IOU
from training.bench.moments import FACTORS, Moments
from training.bench.scene_answers import Floats, SceneAnswers, answer_scenes
from training.bench.table import Bar, BenchTable, Cell
from training.config import PrepareParams
from training.metrics.answers import abstention_curve, abstention_threshold, score_answers
from training.metrics.detections import Segment, segment_map
from training.metrics.intervals import bootstrap_interval
from training.metrics.recognition import calibration_error

Rows = NDArray[np.int64]

_IOUS = (0.3, TEMPORAL_IOU, 0.7)
_ABSTAINING = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
_DRAWS = 1000
_SEED = 0
_LEAST_MAP, _MOST_CALIBRATION_ERROR = 0.85, 0.05
# A slice of fewer windows says nothing.
_LEAST_WINDOWS = 20


def measure_scenes(
    recognizer: ActionRecognizer,
    detectors: Detectors,
    scenes: Path,
    params: PrepareParams,
    evidence_root: Path,
    *,
    on_progress: Callable[[str, float, float], None],
) -> list[BenchTable]:
    """Tables of segments, windows, confusion and abstention; for the arguments see `answer_scenes`."""
    answers = answer_scenes(recognizer, detectors, scenes, params, evidence_root, on_progress=on_progress)
    card = recognizer.card
    what = (
        f"Rendered people, not filmed ones: the {len(answers.truths)} clips of {scenes.name} "
        f"({len(answers.windows.subjects())} people, none learned from), followed by the detectors and the tracker "
        f"that serve; {card.name}@{card.version} as it is served"
    )
    intervals = f"95 % intervals redraw whole clips, {_DRAWS} times, seed {_SEED}"
    return [
        tabulate_segments(answers, f"{what}. {intervals}: with so few clips they are wide."),
        tabulate_windows(answers, Moments.read(scenes), f"{what}. {intervals}."),
        tabulate_confusion(answers, f"{what}. Windows; truth in rows, answers in columns."),
        tabulate_abstention(answers, f"{what}. Windows; {intervals}."),
    ]


def tabulate_segments(answers: SceneAnswers, what: str) -> BenchTable:
    """Average precision of served segments by action, and what perfect windows would reach."""
    clips = sorted(answers.truths)
    truths = [truth for clip in clips for truth in answers.truths[clip]]
    claims = [claim for clip in clips for claim in answers.claims[clip]]
    ideal = [claim for clip in clips for claim in answers.ideal[clip]]
    followed = [share for clip in clips for share in answers.followed[clip]]
    rows: list[tuple[Cell, ...]] = []
    for action in [*answers.windows.classes.tolist(), ""]:
        mine, served, best = (
            [segment for segment in segments if action in ("", segment.action)] for segments in (truths, claims, ideal)
        )
        precision = [segment_map(mine, served, minimum_iou=iou) for iou in _IOUS]
        precision.append(segment_map(mine, best, minimum_iou=TEMPORAL_IOU))
        seen = sum(share >= 0.5 for truth, share in zip(truths, followed, strict=True) if truth in mine)
        rows.append((action or "mean", len(mine), seen, len(served), *(precision if mine else "-" * len(precision))))
    reached = segment_map(truths, claims, minimum_iou=TEMPORAL_IOU)
    low, high = map_interval(answers.truths, answers.claims)
    return BenchTable(
        name="segments",
        title="rendered: segments, who does what from when to when",
        protocol=(
            f"{what} A segment belongs to whom its boxes show most of the time (box IoU {BOX_IOU}) and is right when "
            "that person does that action with the temporal IoU of the column, each truth answering for one segment; "
            "segments are ranked by their probability (ActivityNet's average precision), over everything anybody does "
            "in the picture, people never followed included (followed: a track shows them for at least half of that "
            "time). Nothing is ranked that was not served. The last column puts the true action of its middle in place "
            "of every window's answer: what is missing there, detection, tracking and smoothing lose, whatever the "
            "network."
        ),
        columns=(
            "action",
            "true",
            "followed",
            "claimed",
            *(f"AP@{iou}" for iou in _IOUS),
            f"AP@{TEMPORAL_IOU}, windows all right",
        ),
        rows=tuple(rows),
        bars=(
            Bar(
                f"segment mAP@{TEMPORAL_IOU}",
                f"{reached:.3f} [{low:.3f}, {high:.3f}]",
                f">= {_LEAST_MAP}",
                reached >= _LEAST_MAP,
            ),
        ),
    )


def map_interval(
    truths: dict[str, list[Segment]], claims: dict[str, list[Segment]], *, draws: int = _DRAWS
) -> tuple[float, float]:
    """95 % interval of the segment mAP; a clip drawn twice is two clips."""
    clips = sorted(truths)

    def redraw(rows: Rows) -> float:
        def drawn(of: dict[str, list[Segment]]) -> list[Segment]:
            return [
                replace(segment, clip=f"{number} {segment.clip}")
                for number, row in enumerate(rows)
                for segment in of[clips[row]]
            ]

        return segment_map(drawn(truths), drawn(claims), minimum_iou=TEMPORAL_IOU)

    return bootstrap_interval(redraw, np.array(clips), draws=draws, seed=_SEED)


def tabulate_windows(answers: SceneAnswers, moments: Moments, what: str) -> BenchTable:
    """Accuracy and calibration of windows, of all and of those that share how the person is seen."""
    named = answers.named
    windows, truth_N = named.windows, named.windows.actions
    whole = score_answers(named.probabilities, truth_N, windows.clips, draws=_DRAWS, seed=_SEED)
    before = calibration_error(named.uncalibrated, truth_N)
    middles_N = (windows.starts_seconds + windows.ends_seconds) / 2
    seen_N = [
        moments.describe(str(clip), str(subject), float(seconds))
        for clip, subject, seconds in zip(windows.clips, windows.subject_ids, middles_N, strict=True)
    ]
    factors = FACTORS | {"place": tuple(sorted({seen["place"] for seen in seen_N if seen}))}
    slices = {"all": np.ones(len(windows), bool)}
    slices |= {
        f"{factor} {value}": np.array([seen.get(factor) == value for seen in seen_N])
        for factor, values in factors.items()
        for value in values
    }
    rows = [
        _window_row(name, named.probabilities[rows_N], truth_N[rows_N], windows.clips[rows_N])
        for name, rows_N in slices.items()
        if rows_N.sum() >= _LEAST_WINDOWS
    ]
    nobody = int((answers.windows.subject_ids == "").sum())
    floor = perfect_calibration_error(named.probabilities)
    return BenchTable(
        name="windows",
        title="rendered: windows, what a person does at its middle",
        protocol=(
            f"{what} A window is named by what its person does at its middle; of {len(answers.windows)} windows "
            f"{len(windows)} have a name: {nobody} show nobody or two people, the others lie at a change. Factors are "
            "the renderer's, at that moment: the longer side of the drawn body, the turn of its head, the share of its "
            f"silhouette that is visible. Slices of under {_LEAST_WINDOWS} windows are left out. Calibration error: "
            "expected, 15 bins."
        ),
        columns=("windows", "number", "clips", "accuracy", "95 %", "calibration error"),
        rows=tuple(rows),
        bars=(
            Bar(
                "calibration error after calibration",
                whole.calibration_error,
                f"<= {_MOST_CALIBRATION_ERROR}",
                whole.calibration_error <= _MOST_CALIBRATION_ERROR,
            ),
        ),
        remarks=(
            f"top-1 {whole.top1:.3f} [{whole.top1_low:.3f}, {whole.top1_high:.3f}], mean class accuracy "
            f"{whole.mean_class:.3f}, macro F1 {whole.macro_f1:.3f}, mean average precision {whole.mean_ap:.3f}, "
            f"mean ROC AUC {whole.auc:.3f} [{whole.auc_low:.3f}, {whole.auc_high:.3f}], top-5 {whole.top5:.3f}; the "
            f"commonest action alone {np.bincount(truth_N).max() / len(truth_N):.3f}",
            f"calibration error {before:.3f} before (temperature 1) and {whole.calibration_error:.3f} after "
            f"(temperature {answers.temperature:.3f}, fitted on validation people); truths drawn from its own "
            f"probabilities would show {floor:.3f}",
        ),
    )


def perfect_calibration_error(probabilities_NK: Floats, *, draws: int = 200) -> float:
    """What a network calibrated perfectly would show on so many answers: truths are drawn from what it says."""
    rng = np.random.default_rng(_SEED)
    steps_NK = probabilities_NK.cumsum(axis=1)
    last = probabilities_NK.shape[1] - 1
    errors = [
        calibration_error(probabilities_NK, np.minimum((steps_NK < rng.random((len(steps_NK), 1))).sum(axis=1), last))
        for _ in range(draws)
    ]
    return float(np.mean(errors))


def tabulate_confusion(answers: SceneAnswers, what: str) -> BenchTable:
    """Counts and F1 by action."""
    named = answers.named
    classes = [str(name) for name in named.windows.classes]
    scores = score_answers(named.probabilities, named.windows.actions, named.windows.clips, draws=1, seed=_SEED)
    rows: list[tuple[Cell, ...]] = []
    for k, name in enumerate(classes):
        right, true, said = (
            int(each) for each in (scores.confusion[k, k], scores.confusion[k].sum(), scores.confusion[:, k].sum())
        )
        f1: Cell = 2 * right / (true + said) if true + said else "-"
        rows.append((name, *scores.confusion[k].tolist(), right / true if true else "-", f1))
    return BenchTable(
        name="confusion",
        title="rendered: what is taken for what",
        protocol=what,
        columns=("truth", *classes, "recall", "F1"),
        rows=tuple(rows),
        bars=(),
    )


def tabulate_abstention(answers: SceneAnswers, what: str) -> BenchTable:
    """Accuracy of the rest when the least sure abstain."""
    named = answers.named
    truth_N, clips_N = named.windows.actions, named.windows.clips
    rows: list[tuple[Cell, ...]] = []
    for share in _ABSTAINING:

        def accuracy(drawn: Rows, share: float = share) -> float:
            return abstention_curve(named.probabilities[drawn], truth_N[drawn], (share,))[0]

        low, high = bootstrap_interval(accuracy, clips_N, draws=_DRAWS, seed=_SEED)
        threshold = abstention_threshold(named.probabilities, share) if share else 0.0
        rows.append((f"{share:.0%}", threshold, accuracy(np.arange(len(truth_N))), f"{low:.3f} to {high:.3f}"))
    everyone, surest = (
        abstention_curve(named.probabilities, truth_N, (share,))[0] for share in (_ABSTAINING[0], _ABSTAINING[2])
    )
    return BenchTable(
        name="abstention",
        title="rendered: when the least sure abstain",
        protocol=what,
        columns=("abstain", "below a probability of", "accuracy of the rest", "95 %"),
        rows=tuple(rows),
        bars=(Bar("accuracy of the surest 90 %", surest, f"> {everyone:.3f}, that of all", surest > everyone),),
    )


def _window_row(name: str, probabilities_NK: Floats, truth_N: Rows, clips_N: NDArray[np.str_]) -> tuple[Cell, ...]:
    right_N = probabilities_NK.argmax(axis=1) == truth_N
    low, high = bootstrap_interval(lambda rows: float(right_N[rows].mean()), clips_N, draws=_DRAWS, seed=_SEED)
    error = calibration_error(probabilities_NK, truth_N)
    return (
        name,
        len(truth_N),
        len(np.unique(clips_N)),
        float(right_N.mean()),
        f"{low:.3f} to {high:.3f}",
        error,
    )
