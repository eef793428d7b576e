"""What each track does: windows of its body strip through the champion action network."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from services.action.segments import WindowProbabilities, find_segments
from services.contracts.action import ActionResponse, ActionSegment
from services.contracts.card import ActionCalibration, ModelCard, WindowSpec
from services.contracts.clip import ModelRef
from services.contracts.tracks import TracksResponse
from services.models.engine import Network, load_network
from services.models.store import ModelStore
from services.perception.evidence import open_evidence
from services.perception.windows import ClipWindow, cut_windows

_BATCH = 16


@dataclass(frozen=True, slots=True)
class ActionRecognizer:
    """A network that names what a person does in a window.

    Attributes:
        card: Windows, classes and calibration.
        network: Its weights, verified.
    """

    card: ModelCard
    network: Network

    @classmethod
    def load(cls, store: ModelStore, *, device: str) -> "ActionRecognizer":
        """The champion of action recognition.

        Raises:
            MissingModel: None is installed, or its weights are not the ones the card names.
        """
        model = store.champion("action")
        return cls(model.card, load_network(model.card, model.weights_path, device=device))

    @property
    def window(self) -> WindowSpec:
        """How its windows are cut."""
        assert self.card.window is not None  # the card's validator
        return self.card.window

    @property
    def calibration(self) -> ActionCalibration:
        """Temperature and hysteresis."""
        assert self.card.action is not None  # the card's validator
        return self.card.action

    def rate_windows(self, windows: Iterable[ClipWindow]) -> WindowProbabilities:
        """Calibrated probabilities of every window, a few windows in memory at a time.

        Source: Guo et al., ICML 2017 (temperature scaling).
        """
        starts, ends, logits = [], [], [np.empty((0, len(self.card.classes)))]
        remaining = iter(windows)
        while batch := list(islice(remaining, _BATCH)):
            starts += [window.start_seconds for window in batch]
            ends += [window.end_seconds for window in batch]
            inputs = {"rgb": np.stack([window.rgb for window in batch])}
            if self.window.motion:
                inputs["motion"] = np.stack([window.motion for window in batch])
            logits.append(self.network.run(inputs)["logits"])
        scaled = np.concatenate(logits).astype(np.float64) / self.calibration.temperature
        odds = np.exp(scaled - scaled.max(axis=1, keepdims=True, initial=-np.inf))
        return WindowProbabilities(np.array(starts), np.array(ends), odds / odds.sum(axis=1, keepdims=True))


def recognize_actions(tracks: TracksResponse, recognizer: ActionRecognizer) -> ActionResponse:
    """Say what every track does, from when to when.

    Args:
        tracks: The tracks service's answer; its evidence bundle is read, not the clip.
        recognizer: The network and its card.

    Raises:
        BadInput: The bundle is gone, or is not the one the message names.
    """
    card = recognizer.card

    def segments(track_id: str) -> list[ActionSegment]:
        windows = recognizer.rate_windows(cut_windows(evidence.strip(track_id), recognizer.window))
        return find_segments(track_id, windows, card.classes, recognizer.calibration)

    with open_evidence(tracks.evidence.uri, tracks.evidence.sha256) as evidence:
        found = tuple(chain.from_iterable(segments(track.track_id) for track in tracks.tracks))
    reference = ModelRef(name=card.name, version=card.version, sha256=card.weights.sha256)
    return ActionResponse(tracks=tracks, segments=found, models=(reference,))
