"""The four services, loaded: the one place where networks, gallery and evidence meet the verbs.

`python -m services.NAME` serves one of them; an analysis in one process loads all four.
"""

import re
from collections.abc import Callable
from typing import Any

from services.access.sources import ClipSources
from services.contracts.errors import BadInput
from services.contracts.events import EventsRequest
from services.contracts.tracks import TracksRequest, TracksResponse
from services.endpoint import Service
from services.settings import Settings

Progress = Callable[[str, float, float], None]
"""Told clip_id, seconds analysed, seconds in all."""


def load_tracks(
    settings: Settings, *, sources: ClipSources | None = None, on_progress: Progress | None = None
) -> Service[TracksRequest]:
    """Detectors, verified and ready, behind the tracks verb.

    Args:
        settings: Of this machine.
        sources: Where clips may be read from; those of the settings when None.
        on_progress: Called a few times a second.
    """
    from services.models.store import ModelStore
    from services.tracks.find import Detectors, find_tracks

    detectors = Detectors.load(ModelStore(settings.models), device=settings.device)
    allowed = ClipSources.parse(settings.clips) if sources is None else sources

    def answer(request: TracksRequest) -> Any:
        return find_tracks(request, detectors, settings.evidence, sources=allowed, on_progress=on_progress)

    return Service("tracks", TracksRequest, answer)


def load_identity(settings: Settings) -> Service[TracksResponse]:
    """The face embedder and the gallery behind the identity verb."""
    from services.gallery.store import Gallery
    from services.identity.embed import FaceEmbedder
    from services.identity.identify import identify_tracks
    from services.models.store import ModelStore

    embedder = FaceEmbedder.load(ModelStore(settings.models), device=settings.device)
    gallery = Gallery(settings.gallery)

    def answer(tracks: TracksResponse) -> Any:
        _require_own_evidence(tracks, settings)
        return identify_tracks(tracks, embedder, gallery)

    return Service("identity", TracksResponse, answer)


def load_action(settings: Settings) -> Service[TracksResponse]:
    """The action network behind the action verb."""
    from services.action.recognize import ActionRecognizer, recognize_actions
    from services.models.store import ModelStore

    recognizer = ActionRecognizer.load(ModelStore(settings.models), device=settings.device)

    def answer(tracks: TracksResponse) -> Any:
        _require_own_evidence(tracks, settings)
        return recognize_actions(tracks, recognizer)

    return Service("action", TracksResponse, answer)


def load_events(_settings: Settings) -> Service[EventsRequest]:
    """The join; it needs nothing loaded."""
    from services.events.join import join_events

    return Service("events", EventsRequest, join_events)


def _require_own_evidence(tracks: TracksResponse, settings: Settings) -> None:
    """Only bundles of this installation's folder are opened, whatever uri a message names.

    Raises:
        BadInput: It lies elsewhere.
    """
    from services.perception.recording import bundle_uri

    uri = tracks.evidence.uri
    key = re.search(r"/([0-9a-f]{64})\.zip$", uri)
    if key is None or bundle_uri(settings.evidence, key[1]) != uri:
        raise BadInput(f"{uri!r} is no evidence of this installation: analyse the clip again, with these services")


LOADERS: dict[str, Callable[[Settings], Service[Any]]] = {
    "tracks": load_tracks,
    "identity": load_identity,
    "action": load_action,
    "events": load_events,
}
