"""What happens in a whole clip, by a network that views surroundings or the scene rather than one person."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import ModelCard
from services.contracts.errors import BadInput
from services.models.engine import Network
from services.perception.crop import Square
from services.perception.decode import decode
from services.perception.track import Track
from training.clips.reader import StripRequest, read_strip
from training.clips.views import choose_squares, cut_strip

if TYPE_CHECKING:
    from services.tracks.find import Detectors

# Motion of one large window takes as much memory as a batch may.
_BATCH = 1
# Longer clips are read piece by piece, so that memory stays what it is at any length.
_PIECE_SECONDS = 60.0


Piece = tuple[float, float | None]
"""From when to when, in seconds; None is the end."""


class ClipRecognizer:
    """A network and its card, rating whole clips.

    Attributes:
        card: Its window says what is viewed.
    """

    def __init__(self, card: ModelCard, network: Network, detectors: "Detectors | None") -> None:
        """Take what is needed; `detectors` only where surroundings are viewed."""
        if card.window is None or card.action is None:
            raise BadInput(f"{card.name} has no window: it does not recognise actions")
        if card.action.thresholds:
            raise BadInput(
                f"{card.name} names several actions at once, and clips of one action each do not measure that: see the "
                "figures in its card, which `python -m training.clips learn` left there"
            )
        self.card = card
        self._window, self._temperature = card.window, card.action.temperature
        self._network, self._detectors = network, detectors

    def rate(self, path: Path, evidence_root: str) -> NDArray[np.float64]:
        """Calibrated probabilities (K,): of the mean logits over all windows of all views.

        Raises:
            BadInput: The clip cannot be read.

        Source: Wang et al. 2016, arXiv:1608.00859 (consensus before the softmax).
        """
        tracks = self._follow(path, evidence_root) if self._window.view == "surroundings" else []
        with decode(path) as decoding:
            boxes = [track.boxes_px for track in tracks]
            squares = choose_squares(decoding.clip.width_px, decoding.clip.height_px, boxes)
            pieces = _pieces(decoding.clip.duration_seconds)
        logits = [self._rate_square(path, square, pieces) for square in squares]
        mean_K = np.mean(logits, axis=0, dtype=np.float64) / self._temperature
        odds_K = np.exp(mean_K - mean_K.max())
        probabilities_K: NDArray[np.float64] = odds_K / odds_K.sum()
        return probabilities_K

    def _rate_square(self, path: Path, square: Square, pieces: Sequence[Piece]) -> NDArray[np.float64]:
        """(K,): mean logits over all windows of one view."""
        parts = []
        for start_seconds, end_seconds in pieces:
            request = StripRequest(path, start_seconds, end_seconds, self._window.rate_hz, self._window.size_px, square)
            windows = cut_strip(read_strip(request), self._window)
            parts += [
                self._network.run({"rgb": windows[start : start + _BATCH]})["logits"]
                for start in range(0, len(windows), _BATCH)
            ]
        mean_K: NDArray[np.float64] = np.concatenate(parts).mean(axis=0, dtype=np.float64)
        return mean_K

    def _follow(self, path: Path, evidence_root: str) -> Sequence[Track]:
        from services.client import refer_to_clip
        from services.contracts.tracks import TracksRequest
        from services.perception.evidence import open_evidence
        from services.tracks.find import find_tracks

        if self._detectors is None:
            raise BadInput(f"{self.card.name} views people's surroundings: detectors are needed to find them")
        response = find_tracks(TracksRequest(clip=refer_to_clip(path)), self._detectors, evidence_root)
        with open_evidence(response.evidence.uri, response.evidence.sha256) as evidence:
            return evidence.tracks()


def _pieces(duration_seconds: float | None) -> list[Piece]:
    """Spans of a minute; what is left over belongs to the last. A file that does not say its length is one piece."""
    count = max(1, int((duration_seconds or 0.0) // _PIECE_SECONDS))
    starts = [_PIECE_SECONDS * number for number in range(count)]
    return list(zip(starts, [*starts[1:], None], strict=True))
