"""What each track does and what that is part of: windows of its body strip through the champion networks."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from services.action.behaviours import find_rule_behaviours
from services.action.pushes import point_pushes
from services.action.segments import WindowProbabilities, find_segments
from services.contracts.action import ActionResponse, ActionSegment
from services.contracts.card import ActionCalibration, ModelCard, Task, WindowSpec
from services.contracts.clip import ModelRef
from services.contracts.errors import MissingModel
from services.contracts.tracks import TracksResponse
from services.models.engine import Network, load_network
from services.models.store import ModelStore
from services.perception.evidence import Strip, open_evidence
from services.perception.surroundings import cut_surroundings
from services.perception.windows import ClipWindow, cut_windows

# Pixels of all windows of a batch: sixteen small windows, one large one. Motion takes two hundred bytes a pixel.
_BATCH_PX = 16 * 8 * 64 * 64


@dataclass(frozen=True, slots=True)
class ActionRecognizer:
    """A network that names what a person does, or takes part in, in a window.

    Attributes:
        card: Windows, classes and calibration.
        network: Its weights, verified.
    """

    card: ModelCard
    network: Network

    def __post_init__(self) -> None:
        """Refuse a network that names several actions at once: a softmax over its logits would mean nothing."""
        if self.card.action and self.card.action.thresholds:
            raise MissingModel(
                f"{self.card.name} names several at once and is measured, not served: put a network of task "
                f"{self.card.task} that names one at a time in its place (`whodid models install`)"
            )

    @classmethod
    def load(cls, store: ModelStore, task: Task = "action", *, device: str) -> "ActionRecognizer":
        """The champion of a task.

        Raises:
            MissingModel: None is installed, or its weights are not the ones the card names; or it names several
                actions at once.
        """
        model = store.champion(task)
        return cls(model.card, load_network(model.card, model.weights_path, device=device))

    @property
    def window(self) -> WindowSpec:
        """How its windows are cut."""
        assert self.card.window is not None  # the card's validator
        return self.card.window

    @property
    def calibration(self) -> ActionCalibration:
        """Temperature and the limits of segments."""
        assert self.card.action is not None  # the card's validator
        return self.card.action

    @property
    def batch_windows(self) -> int:
        """Windows in one run of the network, so that memory stays what it is whatever their size."""
        return max(1, _BATCH_PX // (self.window.frames * self.window.size_px**2))

    def rate_windows(self, windows: Iterable[ClipWindow]) -> WindowProbabilities:
        """Calibrated probabilities of every window, a few windows in memory at a time.

        Source: Guo et al., ICML 2017 (temperature scaling).
        """
        starts, ends, logits = [], [], [np.empty((0, len(self.card.classes)))]
        remaining = iter(windows)
        while batch := list(islice(remaining, self.batch_windows)):
            starts += [window.start_seconds for window in batch]
            ends += [window.end_seconds for window in batch]
            inputs = {"rgb": np.stack([window.rgb for window in batch])}
            if self.window.motion:
                inputs["motion"] = np.stack([window.motion for window in batch])
            logits.append(self.network.run(inputs)["logits"])
        scaled = np.concatenate(logits).astype(np.float64) / self.calibration.temperature
        odds = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
        return WindowProbabilities(np.array(starts), np.array(ends), odds / odds.sum(axis=1, keepdims=True))

    def find_segments(self, strip: Strip) -> list[ActionSegment]:
        """What one track does, from when to when; classes that say nothing make no segment."""
        cut = cut_surroundings if self.window.view == "surroundings" else cut_windows
        rated = self.rate_windows(cut(strip, self.window))
        found = find_segments(strip.track_id, rated, self.card.classes, self.calibration)
        return [segment for segment in found if segment.action.name not in self.calibration.unnamed]

    @property
    def reference(self) -> ModelRef:
        """Which exact weights speak."""
        return ModelRef(name=self.card.name, version=self.card.version, sha256=self.card.weights.sha256)


def recognize_actions(
    tracks: TracksResponse, recognizer: ActionRecognizer, behaviour: ActionRecognizer | None = None
) -> ActionResponse:
    """Say what every track does, from when to when, whom pushes are done to, and what it all is part of.

    Args:
        tracks: The tracks service's answer; its evidence bundle is read, not the clip.
        recognizer: The network of actions and its card.
        behaviour: That of behaviours, where one is installed; those defined by rules are found without it.

    Raises:
        BadInput: The bundle is gone, or is not the one the message names.
    """
    recognizers = [recognizer] if behaviour is None else [recognizer, behaviour]
    found: list[list[ActionSegment]] = [[] for _ in recognizers]
    with open_evidence(tracks.evidence.uri, tracks.evidence.sha256) as evidence:
        for track in tracks.tracks:
            strip = evidence.strip(track.track_id)
            for segments, each in zip(found, recognizers, strict=True):
                segments += each.find_segments(strip)
        followed = [evidence.track(track.track_id) for track in tracks.tracks]
    actions, learned = point_pushes(followed, found[0]), [segment for segments in found[1:] for segment in segments]
    return ActionResponse(
        tracks=tracks,
        segments=tuple(actions),
        behaviours=(*learned, *find_rule_behaviours(followed, [*actions, *learned])),
        models=tuple(each.reference for each in recognizers),
    )
