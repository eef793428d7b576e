"""Unknown people of an analysis are given pseudonyms, the same in every clip.

After the graph has answered and outside of it: what it says of a clip must not depend on which clips came before.
"""

import threading
from datetime import timedelta
from functools import cached_property

from services.archive.store import Archive, identify_analysis
from services.console import warn
from services.contracts.errors import WhodidError
from services.contracts.events import Analysis
from services.gallery.growth import StrangerTail, find_shipped_tail, stricter_than
from services.gallery.store import Gallery
from services.gallery.strangers import SeenTrack, erase_strangers, list_strangers, meet
from services.identity.embed import FaceEmbedder
from services.identity.templates import make_templates, pool_templates
from services.models.pinned import PinnedModels
from services.perception.evidence import open_evidence
from services.settings import Settings

# Two strangers under one pseudonym would later be named as one: that may happen so many times less often than that a
# stranger is named, which somebody looks at.
STRICTER_TIMES = 10


def open_strangers(settings: Settings) -> Gallery:
    """Where unknown people are remembered."""
    return Gallery.open(settings, settings.strangers)


class Acquaintance:
    """Knows unknown people again. Loads nothing until there are any, and may be asked from several threads.

    Args:
        settings: Of this machine.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()

    def meet(self, analysis: Analysis) -> dict[str, str]:
        """Call the unknown people of a recorded analysis by their pseudonyms; warns where that cannot be done.

        Returns:
            Track id to pseudonym, of those who were met now.
        """
        if not self._settings.strangers_days:
            self._forget_all()
            return {}
        unknown = {
            report.track.track_id
            for report in analysis.tracks
            if report.identity.decision == "unknown" and report.track.faces
        }
        archive = Archive(self._settings.archive)
        analysis_id = identify_analysis(analysis.clip.clip_id, analysis.provenance)
        unknown -= archive.find_pseudonyms(analysis_id).keys()
        if not unknown:
            return {}
        try:
            with self._lock:
                called = self._call(analysis, unknown)
        except WhodidError as fault:
            warn(f"whodid: unknown people of this clip are given no pseudonyms: {fault}")
            return {}
        archive.call_strangers(analysis_id, called)
        return called

    def _forget_all(self) -> None:
        """Nobody is to be remembered, nor those who were before that was said."""
        strangers = open_strangers(self._settings)
        with self._lock:
            if known := [each.pseudonym for each in list_strangers(strangers)]:
                erase_strangers(strangers, known)

    def _call(self, analysis: Analysis, unknown: set[str]) -> dict[str, str]:
        embedder = self._embedder
        if embedder.reference not in (analysis.provenance.identity or ()):
            raise WhodidError("this machine's face model is not the one that looked at them; install that one")
        calibration = embedder.calibration
        tail = self._tail(embedder)
        seen = []
        with open_evidence(analysis.evidence.uri, analysis.evidence.sha256) as evidence:
            for report in analysis.tracks:
                if (track := report.track).track_id not in unknown:
                    continue
                faces = make_templates(
                    embedder, "", evidence.faces(track.track_id), source_sha256=analysis.clip.clip_id
                )
                if faces:
                    span = (track.start_seconds, track.end_seconds)
                    seen.append(SeenTrack(track.track_id, *span, pool_templates(faces), tuple(faces)))
        return meet(
            open_strangers(self._settings),
            seen,
            similarity_among=lambda count: stricter_than(calibration, tail, subjects=count, times=STRICTER_TIMES),
            keep=timedelta(days=self._settings.strangers_days),
        )

    def _tail(self, embedder: FaceEmbedder) -> StrangerTail:
        tail = find_shipped_tail(embedder.calibration)
        if tail is None:
            raise WhodidError(
                "nobody measured how alike strangers look to this face model (services/gallery/tails.toml)"
            )
        return tail

    @cached_property
    def _embedder(self) -> FaceEmbedder:
        models = PinnedModels(self._settings.models, pins=self._settings.pins)
        return FaceEmbedder.load(models, device=self._settings.device)
