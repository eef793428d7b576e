"""What an action network says of rendered scenes, as it is served, beside what is true there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.action.recognize import ActionRecognizer
from services.action.segments import WindowProbabilities, find_segments
from services.client import refer_to_clip
from services.contracts.action import ActionSegment
from services.contracts.errors import BadInput
from services.contracts.tracks import TracksRequest
from services.perception.evidence import Evidence, open_evidence
from services.perception.track import Track
from services.perception.windows import cut_windows
from services.tracks.find import RATE_HZ, Detectors, find_tracks
from training.bench.accuracy import BOX_IOU
from training.config import PrepareParams
from training.datasets.manifests import ClipTruth, read_manifest
from training.datasets.truth import PersonTruth, commonest, match_track
from training.datasets.windows import WindowSet, join_windows
from training.metrics.detections import Segment
from training.metrics.recognition import softmax
from training.stages.prepare import cut_track

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class SceneAnswers:
    """What one network said of a set of scenes, beside what is true there.

    Attributes:
        windows: Of every track, without pictures; `actions` is -1 where nothing is named.
        probabilities: (N, K), calibrated, in the order of `windows.classes`.
        temperature: They were divided by it.
        truths: By clip, everything everybody does; the `clip` of a segment names its person, too.
        claims: By clip, the segments that were served.
        ideal: By clip, the segments there would be, had every window been named rightly.
        followed: By clip, of each truth the share of its time in which a track shows the person.
    """

    windows: WindowSet
    probabilities: Floats
    temperature: float
    truths: dict[str, list[Segment]]
    claims: dict[str, list[Segment]]
    ideal: dict[str, list[Segment]]
    followed: dict[str, list[float]]

    @property
    def named(self) -> "SceneAnswers":
        """Only windows with a true action."""
        rows_N = self.windows.actions >= 0
        return replace(self, windows=self.windows.select(rows_N), probabilities=self.probabilities[rows_N])

    @property
    def uncalibrated(self) -> Floats:
        """(N, K): probabilities at temperature 1."""
        return softmax(np.log(self.probabilities + 1e-300) * self.temperature)


def answer_scenes(
    recognizer: ActionRecognizer,
    detectors: Detectors,
    scenes: Path,
    params: PrepareParams,
    evidence_root: Path,
    *,
    on_progress: Callable[[str, float, float], None],
) -> SceneAnswers:
    """Follow everybody with the real detectors, and ask the network as the service does.

    Args:
        recognizer: A network of single persons' actions.
        detectors: Those that serve.
        scenes: A folder with a manifest.
        params: How truth is put beside windows; the card says how they are cut.
        evidence_root: Bundles are kept here, and used again.
        on_progress: Told "rendered", clips done and clips in all.

    Raises:
        BadInput: The network does not know every action of the scenes.
    """
    actions, clips = read_manifest(scenes)
    if missing := set(actions) - set(recognizer.card.classes):
        raise BadInput(f"{recognizer.card.name} does not know {', '.join(sorted(missing))}: {scenes} cannot be rated")
    params = params.model_copy(update={"window": recognizer.window})
    parts: list[WindowSet] = []
    probabilities = []
    truths: dict[str, list[Segment]] = {}
    claims: dict[str, list[Segment]] = {}
    ideal: dict[str, list[Segment]] = {}
    followed: dict[str, list[float]] = {}
    for done, clip in enumerate(clips):
        on_progress("rendered", done, len(clips))
        stem = clip.path.stem
        truths[stem], claims[stem], ideal[stem] = list_truths(clip), [], []
        response = find_tracks(TracksRequest(clip=refer_to_clip(clip.path)), detectors, str(evidence_root))
        with open_evidence(response.evidence.uri, response.evidence.sha256) as evidence:
            followed[stem] = measure_following(evidence.tracks(), clip)
            for track_id in evidence.track_ids():
                windows, rated = _rate_track(evidence, track_id, clip, actions, recognizer, params)
                if not len(windows):
                    continue
                parts.append(replace(windows, pictures=windows.pictures[:, :1, :1]))
                probabilities.append(rated.probabilities)
                track = evidence.track(track_id)
                said = recognizer.find_segments(evidence.strip(track_id))
                claims[stem] += place_segments(said, track, clip.people, stem)
                best = _name_rightly(windows, rated, clip.people, actions)
                right = find_segments(track_id, best, actions, recognizer.calibration)
                ideal[stem] += place_segments(right, track, clip.people, stem)
    on_progress("rendered", len(clips), len(clips))
    return SceneAnswers(
        join_windows(parts),
        np.concatenate(probabilities),
        recognizer.calibration.temperature,
        truths,
        claims,
        ideal,
        followed,
    )


def list_truths(clip: ClipTruth) -> list[Segment]:
    """Everything everybody does; two people who do the same at once are told apart by `clip`."""
    return [
        Segment(_place(each.clip, str(each.subject_id)), each.action, each.start_seconds, each.end_seconds)
        for each in clip.happenings
    ]


def measure_following(tracks: Sequence[Track], clip: ClipTruth) -> list[float]:
    """Of everything that happens, the share of its time in which some track shows the person; see `list_truths`."""
    moments: dict[str, list[float]] = {}
    for track in tracks:
        for subject, seconds in zip(
            match_track(track, clip.people, minimum_iou=BOX_IOU), track.pts_seconds.tolist(), strict=True
        ):
            moments.setdefault(subject, []).append(seconds)
    shares = []
    for each in clip.happenings:
        seen = np.unique(np.floor(np.array(moments.get(str(each.subject_id), [])) * RATE_HZ + 0.5))
        grid = np.arange(np.ceil(each.start_seconds * RATE_HZ), np.ceil(each.end_seconds * RATE_HZ))
        shares.append(float(np.isin(grid, seen).mean()) if len(grid) else 0.0)
    return shares


def place_segments(
    segments: Sequence[ActionSegment], track: Track, people: Sequence[PersonTruth], clip: str
) -> list[Segment]:
    """Segments of a track, each put down to whom its boxes show while it lasts; of nobody, it can only be wrong."""
    shown = np.array(match_track(track, people, minimum_iou=BOX_IOU))
    placed = []
    for segment in segments:
        during = (track.pts_seconds >= segment.start_seconds) & (track.pts_seconds < segment.end_seconds)
        subject = commonest(shown[during].tolist()) if during.any() else ""
        placed.append(
            Segment(
                _place(clip, subject),
                segment.action.name,
                segment.start_seconds,
                segment.end_seconds,
                segment.action.probability,
            )
        )
    return placed


def _rate_track(
    evidence: Evidence,
    track_id: str,
    clip: ClipTruth,
    actions: Sequence[str],
    recognizer: ActionRecognizer,
    params: PrepareParams,
) -> tuple[WindowSet, WindowProbabilities]:
    windows = cut_track(evidence, track_id, clip.path.stem, clip.people, actions, params)
    rated = recognizer.rate_windows(cut_windows(evidence.strip(track_id), recognizer.window))
    columns = [recognizer.card.classes.index(action) for action in actions]
    return windows, replace(rated, probabilities=rated.probabilities[:, columns])


def _name_rightly(
    windows: WindowSet, rated: WindowProbabilities, people: Sequence[PersonTruth], actions: Sequence[str]
) -> WindowProbabilities:
    """What a network without faults would say: the action at the middle; the network's own word where none is true."""
    by_subject = {person.subject_id: person for person in people}
    probabilities_NK = rated.probabilities.copy()
    for row, subject in enumerate(windows.subject_ids.tolist()):
        middle_seconds = float(windows.starts_seconds[row] + windows.ends_seconds[row]) / 2
        action = by_subject[subject].action_at(middle_seconds) if subject else None
        if action is not None:
            probabilities_NK[row] = np.array(actions) == action
    return WindowProbabilities(rated.start_seconds, rated.end_seconds, probabilities_NK)


def _place(clip: str, subject_id: str) -> str:
    return f"{clip}/{subject_id}"
