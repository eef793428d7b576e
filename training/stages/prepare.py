"""Stage prepare: rendered clips become labelled windows, by way of the services that serve.

Decoder, detectors, tracker, strips and windows are those of an analysis, so a network meets in
training what it will meet in use: jittering boxes, lost tracks, compressed strips. A window takes
the name of what its person does at its middle; windows whose middle lies within
`boundary_seconds` of a change keep no name, and teach nothing, but still count as a track's.
"""

import json
import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from services.client import refer_to_clip
from services.console import ProgressBars
from services.contracts.card import WindowSpec
from services.contracts.errors import MissingModel
from services.contracts.tracks import TracksRequest
from services.models.store import ModelStore
from services.perception.evidence import Evidence, open_evidence
from services.perception.windows import MOTION_CHANNELS, cut_windows
from services.settings import read_settings
from services.tracks.find import Detectors, find_tracks
from training.config import PrepareParams, read_config
from training.datasets.manifests import ClipTruth, read_manifest
from training.datasets.splits import pick_clips, refuse_leak
from training.datasets.truth import PersonTruth, commonest, match_track
from training.datasets.windows import WindowSet, join_windows
from training.metrics.events import Happening
from training.stages.entry import run

RESULTS = Path("build/prepare")
# Kept beside the results: a change of window needs no second detection.
EVIDENCE = Path("build/evidence")
SCENES = Path("data/scenes")
# Of a worker process: loaded once, used for every clip it gets.
_detectors: list[Detectors] = []


def main() -> None:
    """Leave a WindowSet and the truth of each side, and `metrics.json`, in `build/prepare`."""
    params = read_config().prepare
    classes, sides = read_sides(params)
    metrics = {}
    # A worker that finds no detectors would be replaced by another for ever: it is said here.
    _load()
    # A process a core, each network on one thread: small networks gain little from more.
    with ProgressBars(unit="clips") as bars, multiprocessing.get_context("spawn").Pool(initializer=_load) as pool:
        cut = partial(_cut, classes=classes, params=params)
        cutting = {side: pool.imap(cut, clips) for side, clips in sides.items()}
        for side, clips in sides.items():
            parts = []
            for done, part in enumerate(cutting[side], 1):
                parts.append(part)
                bars.advance_to(side, done, len(clips))
            windows = join_windows(parts)
            windows.save(RESULTS / f"{side}.npz")
            truth = [asdict(happening) for clip in clips for happening in clip.happenings]
            (RESULTS / f"{side}.truth.json").write_text(json.dumps(truth, indent=1) + "\n")
            metrics[side] = count(windows, truths=len(truth))
    (RESULTS / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def read_sides(params: PrepareParams) -> tuple[tuple[str, ...], dict[str, list[ClipTruth]]]:
    """The names of all actions, and the clips of each side; the sides share nobody.

    Raises:
        BadInput: They cannot be told apart, or somebody is on two of them.
    """
    classes, training_clips = read_manifest(SCENES / "train")
    training_clips = training_clips[: params.training_clips]
    _, heldout_clips = read_manifest(SCENES / "heldout")
    casts = {clip.path.stem: [person.subject_id for person in clip.people] for clip in training_clips}
    validating = pick_clips(casts, params.validation_share, params.seed)
    # The longest clips first: whoever is done waits less for the last one.
    sides = {
        "heldout": heldout_clips,
        "train": [clip for clip in training_clips if clip.path.stem not in validating],
        "validation": [clip for clip in training_clips if clip.path.stem in validating],
    }
    refuse_leak({side: {p.subject_id for clip in clips for p in clip.people} for side, clips in sides.items()})
    return classes, sides


def _load() -> None:
    """Give this process its detectors."""
    settings = read_settings()
    _detectors.append(Detectors.load(ModelStore(settings.models), device=settings.device, threads=1))


def _cut(clip: ClipTruth, classes: Sequence[str], params: PrepareParams) -> WindowSet:
    return cut_clip(clip, classes, _detectors[0], params)


def count(windows: WindowSet, *, truths: int) -> dict[str, int]:
    """What a side holds, for whoever compares two versions of the data."""
    named = {str(name): int((windows.actions == number).sum()) for number, name in enumerate(windows.classes)}
    return {"subjects": len(windows.subjects()), "happenings": truths, "windows": len(windows), **named}


def cut_clip(clip: ClipTruth, classes: Sequence[str], detectors: Detectors, params: PrepareParams) -> WindowSet:
    """Follow everybody in a clip as an analysis does, and cut and name the windows of every track."""
    response = find_tracks(TracksRequest(clip=refer_to_clip(clip.path)), detectors, str(EVIDENCE))
    with open_evidence(response.evidence.uri, response.evidence.sha256) as evidence:
        parts = [
            cut_track(evidence, track_id, clip.path.stem, clip.people, classes, params)
            for track_id in evidence.track_ids()
        ]
    return join_windows([_no_windows(classes, params.window), *parts])


def cut_track(
    evidence: Evidence,
    track_id: str,
    clip: str,
    people: Sequence[PersonTruth],
    classes: Sequence[str],
    params: PrepareParams,
) -> WindowSet:
    """The windows of one track, each with the person it shows and what they do at its middle."""
    strip = evidence.strip(track_id)
    shown = np.array(match_track(evidence.track(track_id), people, minimum_iou=params.minimum_iou))
    by_subject = {person.subject_id: person for person in people}
    windows = list(cut_windows(strip, params.window))
    if not windows:
        return _no_windows(classes, params.window)
    used, picture = np.unique(np.stack([window.picture_indexes for window in windows]), return_inverse=True)
    picture_NT = picture.reshape(len(windows), params.window.frames).astype(np.int32)
    pictures = np.empty((len(used), *windows[0].rgb.shape[1:]), np.uint8)
    subjects, actions = [], []
    for window, picture_T in zip(windows, picture_NT, strict=True):
        pictures[picture_T] = window.rgb
        subject = commonest(shown[window.picture_indexes].tolist())
        middle_seconds = (window.start_seconds + window.end_seconds) / 2
        action = (
            by_subject[subject].action_at(middle_seconds, margin_seconds=params.boundary_seconds) if subject else None
        )
        subjects.append(subject)
        actions.append(classes.index(action) if action else -1)
    return WindowSet(
        classes=np.array(classes),
        pictures=pictures,
        shown=picture_NT,
        motion=np.stack([window.motion for window in windows]),
        actions=np.array(actions, np.int64),
        subject_ids=np.array(subjects),
        clips=np.array([clip] * len(windows)),
        tracks=np.array([track_id] * len(windows)),
        starts_seconds=np.array([window.start_seconds for window in windows]),
        ends_seconds=np.array([window.end_seconds for window in windows]),
    )


def read_truth(side: str) -> list[Happening]:
    """What this stage left of a side's truth.

    Raises:
        MissingModel: It has not run.
    """
    path = RESULTS / f"{side}.truth.json"
    if not path.is_file():
        raise MissingModel(f"no truth at {path}: run `dvc repro prepare`")
    return [Happening(**happening) for happening in json.loads(path.read_text())]


def _no_windows(classes: Sequence[str], spec: WindowSpec) -> WindowSet:
    return WindowSet(
        classes=np.array(classes),
        pictures=np.empty((0, spec.size_px, spec.size_px, 3), np.uint8),
        shown=np.empty((0, spec.frames), np.int32),
        motion=np.empty((0, spec.frames, MOTION_CHANNELS), np.float32),
        actions=np.empty(0, np.int64),
        subject_ids=np.empty(0, "U1"),
        clips=np.empty(0, "U1"),
        tracks=np.empty(0, "U1"),
        starts_seconds=np.empty(0),
        ends_seconds=np.empty(0),
    )


if __name__ == "__main__":
    run(main)
