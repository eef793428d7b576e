"""What recognising actions costs: windows a second from the clip on, and what eight bits lose."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.action.recognize import ActionRecognizer
from services.client import refer_to_clip
from services.contracts.card import ModelCard
from services.contracts.tracks import TracksRequest
from services.models.engine import Tensor, load_network
from services.models.store import StoredModel
from services.perception.evidence import open_evidence
from services.perception.windows import cut_windows
from services.tracks.find import Detectors, find_tracks
from training.bench.accuracy import TEMPORAL_IOU
from training.bench.engine_times import BATCH, Progress, Timing, measure_engines, store_beside, time_call
from training.bench.scene_answers import SceneAnswers, answer_scenes
from training.bench.table import Bar, BenchTable, Cell, Spread
from training.config import Config
from training.datasets.manifests import read_manifest
from training.datasets.windows import WindowSet, join_windows
from training.metrics.detections import segment_map
from training.metrics.intervals import bootstrap_interval
from training.metrics.recognition import calibration_error
from training.precision import quantise
from training.stages.prepare import cut_clip

_LEAST_WINDOWS_PER_SECOND = 10
_MOST_LOST_POINTS = 1.0
_CALIBRATION_CLIPS, _CALIBRATION_WINDOWS = 4, 256
# Of the stages of the tracks service, what every window needs however people are found.
_WITHOUT_DETECTION = ("decode", "evidence")
_INCLUDED = {
    "network": "the network alone, windows in memory",
    "service": "the action service: crops read and resized, network, segments",
    "decoded": "and the clip decoded and crops written, detectors apart",
    "all": "and detectors and tracking: clip to segments",
}


def measure_cost(
    model: StoredModel,
    detectors: Detectors,
    config: Config,
    *,
    heldout: Path,
    train: Path,
    evidence_root: Path,
    runs: int,
    rounds: int,
    on_progress: Progress,
) -> list[BenchTable]:
    """Tables of throughput, engines, operations and eight bits.

    Args:
        model: What serves.
        detectors: Those that serve.
        config: Says what the network is and how truth is put beside windows.
        heldout: Rendered scenes: eight bits are measured on them, throughput on their first clip.
        train: Rendered scenes whose windows say which ranges eight bits must hold.
        evidence_root: Bundles are kept here for all but throughput.
        runs: Of throughput.
        rounds: Of engines.
        on_progress: Told what is measured, how much is done and how much there is.
    """
    full = ActionRecognizer(model.card, load_network(model.card, model.weights_path))
    throughput = measure_throughput(full, detectors, read_manifest(heldout)[1][0].path, runs, on_progress=on_progress)
    batches = gather_batches(full, detectors, train, config, on_progress=on_progress)
    quantised = quantise(model.weights_path.read_bytes(), batches)
    engines = measure_engines(model, quantised, config.train_action.network, rounds, on_progress=on_progress)
    with tempfile.TemporaryDirectory(prefix="whodid-bench-") as folder:
        stored = store_beside(model.card, quantised, Path(folder) / "int8")
        small = ActionRecognizer(stored.card, load_network(stored.card, stored.weights_path))
        answers = [
            answer_scenes(each, detectors, heldout, config.prepare, evidence_root, on_progress=on_progress)
            for each in (full, small)
        ]
    megabytes = (model.card.weights.size_bytes / 1e6, len(quantised) / 1e6)
    return [throughput, *engines, tabulate_precisions(answers[0], answers[1], megabytes, model.card)]


def measure_throughput(
    recognizer: ActionRecognizer, detectors: Detectors, clip: Path, runs: int, *, on_progress: Progress
) -> BenchTable:
    """Windows a second, from pixels in memory to a whole clip."""
    timings: dict[str, list[Timing]] = {name: [] for name in _INCLUDED}
    windows = 0
    for done in range(runs):
        on_progress("throughput", done, runs)
        spent, windows = _time_clip(recognizer, detectors, clip)
        for name, timing in spent.items():
            timings[name].append(timing)
    on_progress("throughput", runs, runs)
    return tabulate_throughput(timings, windows, clip.name)


def tabulate_throughput(timings: dict[str, list[Timing]], windows: int, clip: str) -> BenchTable:
    """Spread of windows a second, and cores busy meanwhile, of what each row includes."""
    rows: list[tuple[Cell, ...]] = []
    medians = {}
    for name, included in _INCLUDED.items():
        spread = Spread.of([windows / timing.wall_seconds for timing in timings[name]])
        busy = float(np.median([timing.cpu_seconds / timing.wall_seconds for timing in timings[name]]))
        medians[name] = spread.median
        rows.append((included, spread.minimum, spread.median, spread.maximum, "-" if np.isnan(busy) else busy))
    wanted = f">= {_LEAST_WINDOWS_PER_SECOND}"
    return BenchTable(
        name="throughput",
        title="cost: windows a second",
        protocol=(
            f"{clip}, {windows} windows; {len(timings['all'])} runs in one process, each with no evidence from before, "
            "the first among them. Every row includes the one above. What detecting and tracking take is told by the "
            "tracks service's own stopwatch. Cores busy: the process's processor time by the clock's."
        ),
        columns=("included", "min", "median", "max", "cores busy"),
        rows=tuple(rows),
        bars=(
            Bar(
                "windows/s, decode and crops included",
                medians["decoded"],
                wanted,
                medians["decoded"] >= _LEAST_WINDOWS_PER_SECOND,
            ),
            Bar(
                "windows/s, detectors and tracking, too",
                medians["all"],
                wanted,
                medians["all"] >= _LEAST_WINDOWS_PER_SECOND,
            ),
        ),
    )


def gather_batches(
    recognizer: ActionRecognizer, detectors: Detectors, train: Path, config: Config, *, on_progress: Progress
) -> list[dict[str, Tensor]]:
    """Windows of the first training clips, evenly drawn, in batches."""
    actions, clips = read_manifest(train)
    params = config.prepare.model_copy(update={"window": recognizer.window})
    parts = []
    for done, clip in enumerate(clips[:_CALIBRATION_CLIPS]):
        on_progress("windows of training clips", done, _CALIBRATION_CLIPS)
        parts.append(cut_clip(clip, actions, detectors, params))
    windows = join_windows(parts)
    drawn = np.linspace(0, len(windows) - 1, min(_CALIBRATION_WINDOWS, len(windows))).astype(np.int64)
    return [_feed(windows, drawn[start : start + BATCH]) for start in range(0, len(drawn), BATCH)]


def tabulate_precisions(
    full: SceneAnswers, small: SceneAnswers, megabytes: Sequence[float], card: ModelCard
) -> BenchTable:
    """Accuracy of the same windows in float32 and in int8, and how much is lost."""
    truth_N, clips_N = full.named.windows.actions, full.named.windows.clips
    probabilities = [answers.named.probabilities for answers in (full, small)]
    right = [each.argmax(axis=1) == truth_N for each in probabilities]
    rows: list[tuple[Cell, ...]] = [
        (
            form,
            size,
            float(right_N.mean()),
            calibration_error(each, truth_N),
            segment_map(
                [one for clip in answers.truths.values() for one in clip],
                [one for clip in answers.claims.values() for one in clip],
                minimum_iou=TEMPORAL_IOU,
            ),
        )
        for form, size, right_N, each, answers in zip(
            ("float32", "int8"), megabytes, right, probabilities, (full, small), strict=True
        )
    ]
    lost_N = 100 * (right[0].astype(np.float64) - right[1])
    lost = float(lost_N.mean())
    low, high = bootstrap_interval(lambda rows: float(lost_N[rows].mean()), clips_N)
    same = float((probabilities[0].argmax(axis=1) == probabilities[1].argmax(axis=1)).mean())
    return BenchTable(
        name="int8",
        title="cost: eight bits",
        protocol=(
            f"{card.name}@{card.version}; convolutions and matrix products quantised statically (QDQ) by ONNX Runtime, "
            f"weights per channel, ranges from {_CALIBRATION_WINDOWS} windows of {_CALIBRATION_CLIPS} training clips; "
            f"both forms on OpenVINO, on the {len(truth_N)} named windows of the held-out scenes, thresholds and "
            "temperature left as they are. 95 % interval: whole clips redrawn, 1000 times, the same for both."
        ),
        columns=("weights", "MB", "accuracy", "calibration error", f"segment mAP@{TEMPORAL_IOU}"),
        rows=tuple(rows),
        bars=(
            Bar(
                "points of accuracy that int8 loses",
                f"{lost:.2f} [{low:.2f}, {high:.2f}]",
                f"<= {_MOST_LOST_POINTS:g}",
                lost <= _MOST_LOST_POINTS,
            ),
        ),
        remarks=(f"both give the same answer to {same:.1%} of the windows",),
    )


def _time_clip(recognizer: ActionRecognizer, detectors: Detectors, clip: Path) -> tuple[dict[str, Timing], int]:
    """What each row of throughput takes of one clip followed anew, and how many windows it has."""
    stages: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="whodid-bench-") as folder:
        request = TracksRequest(clip=refer_to_clip(clip))
        response, following = time_call(lambda: find_tracks(request, detectors, folder, on_times=stages.update))
        with open_evidence(response.evidence.uri, response.evidence.sha256) as evidence:
            strips = [evidence.strip(track_id) for track_id in evidence.track_ids()]
            _, service = time_call(lambda: [recognizer.find_segments(strip) for strip in strips])
            windows = [window for strip in strips for window in cut_windows(strip, recognizer.window)]
    _, network = time_call(lambda: recognizer.rate_windows(windows))
    found_seconds = sum(seconds for name, seconds in stages.items() if name not in _WITHOUT_DETECTION)
    whole_seconds = service.wall_seconds + following.wall_seconds
    timings = {
        "network": network,
        "service": service,
        # Its processor time cannot be told from that of the detectors.
        "decoded": Timing(whole_seconds - found_seconds, float("nan")),
        "all": Timing(whole_seconds, service.cpu_seconds + following.cpu_seconds),
    }
    return timings, len(windows)


def _feed(windows: WindowSet, rows_N: NDArray[np.int64]) -> dict[str, Tensor]:
    return {"rgb": windows.rgb(rows_N), "motion": windows.motion[rows_N]}
