"""The fixed protocols: champion and candidate answer the same held-out windows or the same pairs of faces."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.action.recognize import ActionRecognizer
from services.contracts.card import WindowSpec
from services.contracts.errors import BadInput, Refused
from services.identity.embed import FaceEmbedder
from services.models.engine import load_network
from services.models.store import ModelStore, StoredModel
from services.perception.windows import ClipWindow
from services.settings import Settings
from services.tracks.find import Detectors
from training.config import PrepareParams
from training.datasets.manifests import ClipTruth, read_manifest
from training.datasets.windows import WindowSet, join_windows
from training.metrics.events import score_events
from training.metrics.faces import embed_pictures
from training.metrics.verification import PARTS_OF_A_SINGLE_FOLD, REJECTED, judge_pairs, read_pairs
from training.promotion.comparison import Report, Tally
from training.stages.evaluate import make_claims
from training.stages.prepare import cut_clip

Protocol = Callable[[StoredModel], Report]
_TEMPORAL_IOU = 0.5


class ActionProtocol:
    """Windows and events of rendered scenes that nobody trained on.

    Args:
        scenes: A folder with a manifest.
        prepare: How truth is put beside windows; each model's card says how they are cut.
        settings: Where detectors and evidence are.
    """

    def __init__(self, scenes: Path, prepare: PrepareParams, settings: Settings) -> None:
        self._scenes, self._prepare, self._settings = scenes, prepare, settings
        self._cut: dict[WindowSpec, WindowSet] = {}

    def measure(self, model: StoredModel) -> Report:
        """Accuracy over windows, F1 over events, and accuracy by action and by person."""
        recognizer = ActionRecognizer(
            model.card, load_network(model.card, model.weights_path, device=self._settings.device)
        )
        actions, clips = read_manifest(self._scenes)
        windows = self._windows(recognizer.window, actions, clips)
        probabilities_NK = recognizer.rate_windows(_as_clip_windows(windows)).probabilities
        named_N = windows.actions >= 0
        answers = np.array(model.card.classes)[probabilities_NK.argmax(axis=1)]
        right_N = answers == windows.classes[windows.actions]
        told_apart = {
            **{f"action {name}": named_N & (windows.actions == k) for k, name in enumerate(windows.classes)},
            **{f"person {name}": named_N & (windows.subject_ids == name) for name in sorted(windows.subjects())},
        }
        return Report(
            measures={
                "window accuracy": _tally(right_N[named_N], windows.subject_ids[named_N]),
                "events F1": self._events(
                    replace(windows, classes=np.array(model.card.classes)), probabilities_NK, model
                ),
            },
            subgroups={
                name: _tally(right_N[rows], windows.subject_ids[rows])
                for name, rows in told_apart.items()
                if rows.any()
            },
            protocol=(
                f"{self._scenes}: {len(clips)} clips, {int(named_N.sum())} named windows of "
                f"{len(windows.subjects())} people; accuracy redraws people, F1 (temporal IoU {_TEMPORAL_IOU}, names "
                "from the truth, each card's own thresholds) redraws clips"
            ),
        )

    def _windows(self, spec: WindowSpec, actions: tuple[str, ...], clips: list[ClipTruth]) -> WindowSet:
        if spec not in self._cut:
            detectors = Detectors.load(ModelStore(self._settings.models), device=self._settings.device)
            params = self._prepare.model_copy(update={"window": spec})
            self._cut[spec] = join_windows([cut_clip(clip, actions, detectors, params) for clip in clips])
        return self._cut[spec]

    def _events(self, windows: WindowSet, probabilities_NK: NDArray[np.float64], model: StoredModel) -> Tally:
        assert model.card.action is not None  # the card's validator
        claims = make_claims(windows, probabilities_NK, model.card.action)
        counts = {}
        for clip in read_manifest(self._scenes)[1]:
            score = score_events(
                clip.happenings,
                [claim for claim in claims if claim.clip == clip.path.stem],
                minimum_iou=_TEMPORAL_IOU,
            )
            # F1 is a ratio of sums, so it is counted like one.
            counts[clip.path.stem] = (2.0 * score.matched, float(score.truths + score.claims))
        return Tally(counts)


class FaceProtocol:
    """Are two pictures one person? Pairs from a list; see training.metrics.verification.

    Args:
        pairs: CSV with the columns fold, path_a, path_b, same.
        root: The folder the paths are relative to.
        settings: Which device embeds.
    """

    def __init__(self, pairs: Path, root: Path, settings: Settings) -> None:
        self._pairs, self._root, self._settings = pairs, root, settings

    def measure(self, model: StoredModel) -> Report:
        """Accuracy over pairs, with the threshold picked on other folds; by kind of pair."""
        embedder = FaceEmbedder(model.card, load_network(model.card, model.weights_path, device=self._settings.device))
        pairs = read_pairs(self._pairs)
        paths, index = np.unique(pairs.paths, return_inverse=True)
        index_N2 = index.reshape(-1, 2)
        faces = embed_pictures(embedder, [self._root / path for path in paths])
        similarity_N = np.einsum("nd,nd->n", faces.vectors[index_N2[:, 0]], faces.vectors[index_N2[:, 1]])
        found_N = faces.found[index_N2].all(axis=1)
        folds_N = pairs.folds
        if len(np.unique(folds_N)) == 1:
            folds_N = (np.arange(len(folds_N)) % PARTS_OF_A_SINGLE_FOLD).astype(str)
        right_N = judge_pairs(np.where(found_N, similarity_N, REJECTED).astype(np.float64), pairs.same, folds_N)
        right_N &= found_N
        people_N = np.array([str(Path(path).parent) for path in pairs.paths[:, 0]])
        return Report(
            measures={"verification accuracy": _tally(right_N, people_N)},
            subgroups={
                "pairs of one person": _tally(right_N[pairs.same], people_N[pairs.same]),
                "pairs of two people": _tally(right_N[~pairs.same], people_N[~pairs.same]),
            },
            protocol=f"{self._pairs}: {len(right_N)} pairs; threshold picked on other folds; redraws people of path_a",
        )


def choose_protocol(
    task: str, *, scenes: Path, prepare: PrepareParams, pairs: Path | None, root: Path | None, settings: Settings
) -> Protocol:
    """How models of a task are compared.

    Raises:
        Refused: There is no protocol for the task.
        BadInput: Faces were to be compared, and no pairs given.
    """
    if task == "action":
        return ActionProtocol(scenes, prepare, settings).measure
    if task == "face_embedding":
        if pairs is None or root is None:
            raise BadInput("face networks are compared on pairs of pictures: give --pairs CSV and --root DIR")
        return FaceProtocol(pairs, root, settings).measure
    raise Refused(f"no protocol compares {task} networks")


def _as_clip_windows(windows: WindowSet) -> Iterator[ClipWindow]:
    for row in range(len(windows)):
        yield ClipWindow(
            track_id=str(windows.tracks[row]),
            start_seconds=float(windows.starts_seconds[row]),
            end_seconds=float(windows.ends_seconds[row]),
            picture_indexes=windows.shown[row].astype(np.int64),
            rgb=windows.rgb(np.array([row]))[0],
            motion=windows.motion[row],
        )


def _tally(right_N: NDArray[np.bool_], groups_N: Iterable[str]) -> Tally:
    counts: dict[str, tuple[float, float]] = {}
    for right, group in zip(right_N.tolist(), groups_N, strict=True):
        hits, chances = counts.get(str(group), (0.0, 0.0))
        counts[str(group)] = (hits + right, chances + 1)
    return Tally(counts)
