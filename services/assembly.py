"""The four services, loaded: the one place where networks, gallery and evidence meet the verbs.

`python -m services.NAME` serves one of them; an analysis in one process loads all four.
"""

from collections.abc import Callable
from typing import Any

from services.contracts.events import EventsRequest
from services.contracts.tracks import TracksRequest, TracksResponse
from services.endpoint import Service
from services.settings import Settings

Progress = Callable[[str, float, float], None]
"""Told clip_id, seconds analysed, seconds in all."""


def load_tracks(settings: Settings, *, on_progress: Progress | None = None) -> Service[TracksRequest]:
    """Detectors, verified and ready, behind the tracks verb."""
    from services.models.store import ModelStore
    from services.tracks.find import Detectors, find_tracks

    detectors = Detectors.load(ModelStore(settings.models), device=settings.device)

    def answer(request: TracksRequest) -> Any:
        return find_tracks(request, detectors, settings.evidence, on_progress=on_progress)

    return Service("tracks", TracksRequest, answer)


def load_identity(settings: Settings) -> Service[TracksResponse]:
    """The face embedder and the gallery behind the identity verb."""
    from services.gallery.store import Gallery
    from services.identity.embed import FaceEmbedder
    from services.identity.identify import identify_tracks
    from services.models.store import ModelStore

    embedder = FaceEmbedder.load(ModelStore(settings.models), device=settings.device)
    gallery = Gallery(settings.gallery)
    return Service("identity", TracksResponse, lambda tracks: identify_tracks(tracks, embedder, gallery))


def load_action(settings: Settings) -> Service[TracksResponse]:
    """The action network behind the action verb."""
    from services.action.recognize import ActionRecognizer, recognize_actions
    from services.models.store import ModelStore

    recognizer = ActionRecognizer.load(ModelStore(settings.models), device=settings.device)
    return Service("action", TracksResponse, lambda tracks: recognize_actions(tracks, recognizer))


def load_events(_settings: Settings) -> Service[EventsRequest]:
    """The join; it needs nothing loaded."""
    from services.events.join import join_events

    return Service("events", EventsRequest, join_events)


LOADERS: dict[str, Callable[[Settings], Service[Any]]] = {
    "tracks": load_tracks,
    "identity": load_identity,
    "action": load_action,
    "events": load_events,
}
