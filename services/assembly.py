"""The four services, loaded: the one place where networks, gallery and evidence meet the verbs.

`python -m services.NAME` serves one of them; an analysis in one process loads all four.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.access.caller import Caller, current_caller
from services.access.roles import Permission
from services.access.sources import ClipSources
from services.contracts.card import ModelCard, Task
from services.contracts.errors import BadInput
from services.contracts.events import EventsRequest
from services.contracts.tracks import TracksRequest, TracksResponse
from services.service import Load, Service
from services.settings import Settings

if TYPE_CHECKING:
    from services.action.recognize import ActionRecognizer
    from services.identity.embed import FaceEmbedder
    from services.models.batched import Batched
    from services.models.engine import Network
    from services.models.pinned import PinnedModels
    from services.observation.metrics import ServiceMetrics
    from services.tracks.find import Detectors

Progress = Callable[[str, float, float], None]
"""Told clip_id, seconds analysed, seconds in all."""


def load_tracks(
    settings: Settings,
    *,
    metrics: "ServiceMetrics | None" = None,
    sources: ClipSources | None = None,
    on_progress: Progress | None = None,
) -> Service[TracksRequest]:
    """Detectors, verified and ready, behind the tracks verb.

    Args:
        settings: Of this machine.
        metrics: Told the stages' times.
        sources: Where clips may be read from; those of the settings when None.
        on_progress: Called a few times a second.
    """
    from services.tracks.find import Detectors, find_tracks

    detectors = Detectors.load(_models(settings), device=settings.device)
    allowed = ClipSources.parse(settings.clips) if sources is None else sources

    def answer(request: TracksRequest) -> Any:
        current_caller().require_camera(Permission.SEARCH, request.clip.camera_id)
        return find_tracks(
            request,
            detectors,
            settings.evidence,
            sources=allowed,
            on_progress=on_progress,
            on_times=metrics.time_stages if metrics else None,
        )

    return Service(
        "tracks",
        TracksRequest,
        answer,
        cards=(detectors.persons.card, detectors.faces.card),
        warm_up=lambda: _look_at_nothing(detectors),
    )


def load_identity(
    settings: Settings, *, metrics: "ServiceMetrics | None" = None, caller: Caller | None = None
) -> Service[TracksResponse]:
    """The face embedder and the gallery behind the identity verb. Every look-up is recorded before it is answered.

    Args:
        settings: Of this machine.
        metrics: Told the embedder's times.
        caller: On whose behalf; each request's own caller when None.
    """
    from services.access.audit import AuditLog
    from services.gallery.store import Gallery
    from services.identity.embed import FaceEmbedder
    from services.identity.identify import identify_tracks

    embedder = FaceEmbedder.load(_models(settings), device=settings.device)
    embedder = replace(embedder, network=_shared(embedder.network, embedder.card, settings, metrics))
    gallery = Gallery.open(settings)
    audit = AuditLog.open(settings)

    def answer(tracks: TracksResponse) -> Any:
        current_caller().require_camera(Permission.SEARCH, tracks.clip.camera_id)
        _require_own_evidence(tracks, settings)
        found = identify_tracks(tracks, embedder, gallery)
        matched = {each.identity.subject_id for each in found.identities if each.identity.subject_id is not None}
        audit.record(
            "lookup",
            caller or current_caller(),
            subjects=matched,
            clip_id=tracks.clip.clip_id,
            camera_id=tracks.clip.camera_id,
            gallery=found.gallery.sha256,
            people=len(found.identities),
        )
        return found

    return Service("identity", TracksResponse, answer, cards=(embedder.card,), warm_up=lambda: _embed_nothing(embedder))


def load_action(settings: Settings, *, metrics: "ServiceMetrics | None" = None) -> Service[TracksResponse]:
    """The action network behind the action verb, and beside it that of behaviours where one is installed."""
    from services.action.recognize import ActionRecognizer, recognize_actions

    def load(task: Task) -> ActionRecognizer:
        found = ActionRecognizer.load(_models(settings), task, device=settings.device)
        return replace(
            found, network=_shared(found.network, found.card, settings, metrics, most=2 * found.batch_windows)
        )

    recognizer = load("action")
    behaviour = load("behaviour") if _models(settings).has_champion("behaviour") else None
    recognizers = (recognizer,) if behaviour is None else (recognizer, behaviour)

    def answer(tracks: TracksResponse) -> Any:
        current_caller().require_camera(Permission.SEARCH, tracks.clip.camera_id)
        _require_own_evidence(tracks, settings)
        return recognize_actions(tracks, recognizer, behaviour)

    return Service(
        "action",
        TracksResponse,
        answer,
        cards=tuple(each.card for each in recognizers),
        warm_up=lambda: _rate_nothing(recognizers),
    )


def load_events(settings: Settings, *, metrics: "ServiceMetrics | None" = None) -> Service[EventsRequest]:
    """The join; it needs nothing loaded but the graph's digest, which every analysis records."""
    from services.events.join import join_events

    return Service("events", EventsRequest, partial(join_events, graph_sha256=_digest_graph(settings.graph)))


def _digest_graph(path: Path) -> str | None:
    """None where the graph is kept elsewhere, as in a cluster that does not mount it."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def _models(settings: Settings) -> "PinnedModels":
    from services.models.pinned import PinnedModels

    return PinnedModels(settings.models, pins=settings.pins)


def _shared(
    network: "Network", card: ModelCard, settings: Settings, metrics: "ServiceMetrics | None", *, most: int = 32
) -> "Batched":
    """Requests that come at once share the network's runs, and each run is counted."""
    from services.models.batched import Batched
    from services.observation.metered import Metered

    if settings.device in ("cpu", "onnxruntime-cpu"):
        most = min(most, _MOST_ITEMS_ON_CPU)
    return Batched(Metered(network, card.name, metrics) if metrics else network, most_items=most)


# From four items on a processor is no faster at each (the face network takes 5.8 ms of one core, 5.6 from eight on; the
# action network 2.2), and thirty-two keep 70 to 110 MiB more in buffers for ever.
_MOST_ITEMS_ON_CPU = 8

# Engines compile a network when they first run it, which takes longer than any request should.


def _look_at_nothing(detectors: "Detectors") -> None:
    import numpy as np

    picture = np.zeros((640, 640, 3), np.uint8)
    detectors.persons.detect(picture, [(0, 0, 640, 640)], 1.0)
    detectors.faces.detect(picture, 640)


def _embed_nothing(embedder: "FaceEmbedder") -> None:
    import numpy as np

    side_px = embedder.chip.size_px
    landmarks = np.array(embedder.chip.template, np.float32) * side_px
    embedder.embed([(np.full((side_px, side_px, 3), 128, np.uint8), landmarks)])


def _rate_nothing(recognizers: "Sequence[ActionRecognizer]") -> None:
    import numpy as np

    from services.perception.windows import MOTION_CHANNELS, ClipWindow

    for recognizer in recognizers:
        spec = recognizer.window
        pictures = np.zeros((spec.frames, spec.size_px, spec.size_px, 3), np.uint8)
        motion = np.zeros((spec.frames, MOTION_CHANNELS), np.float32)
        recognizer.rate_windows(
            [ClipWindow("nobody", 0.0, spec.duration_seconds, np.arange(spec.frames), pictures, motion)]
        )


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


LOADERS: dict[str, Load] = {
    "tracks": load_tracks,
    "identity": load_identity,
    "action": load_action,
    "events": load_events,
}
