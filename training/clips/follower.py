"""Follower: people followed through clips as the `tracks` service follows them."""

from dataclasses import replace
from pathlib import Path

from services.client import refer_to_clip
from services.contracts.tracks import TracksRequest
from services.models.store import ModelStore
from services.perception.evidence import Strip, open_evidence
from services.settings import read_settings
from services.tracks.find import Detectors, find_tracks


class Follower:
    """Follows people through clips as the `tracks` service does; the detectors are loaded when first needed."""

    def __init__(self, evidence: Path) -> None:
        """Evidence bundles are kept in that folder."""
        self._evidence = evidence
        self._detectors: Detectors | None = None

    def __call__(self, path: Path) -> list[Strip]:
        """Everyone in a clip, their pictures in memory; followed once, and read from the evidence after that."""
        if self._detectors is None:
            settings = read_settings()
            self._detectors = Detectors.load(ModelStore(settings.models), device=settings.device)
        found = find_tracks(TracksRequest(clip=refer_to_clip(path)), self._detectors, str(self._evidence))
        with open_evidence(found.evidence.uri, found.evidence.sha256) as evidence:
            strips = [evidence.strip(track_id) for track_id in evidence.track_ids()]
            return [replace(strip, pictures=list(strip.pictures)) for strip in strips]
