"""Find: the `tracks` verb. A clip is decoded once; out come its tracks and the evidence for every later step."""

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter

from services.access.sources import ANY_LOCAL_FILE, ClipSources
from services.contracts.clip import ClipRef, ModelRef
from services.contracts.errors import BadInput
from services.contracts.tracks import EvidenceRef, TracksRequest, TracksResponse, TrackSummary, Video
from services.models.engine import load_network
from services.models.store import ModelStore
from services.perception.decode import Decoding, decode
from services.perception.detect import FaceDetector, PersonDetector
from services.perception.evidence import read_bundle
from services.perception.following import Following
from services.perception.frame import Frame
from services.perception.recording import EvidenceWriter, bundle_uri, evidence_key

# Pictures a second that are looked at; the rule is in services.perception.decode.
RATE_HZ = 10.0
# Larger pictures are shrunk to it, so that 8K costs no more memory than full HD.
LONGEST_SIDE_PX = 1920
# Part of every bundle's name: raised whenever this code would write another bundle for the same clip and models.
EVIDENCE_VERSION = 7

Progress = Callable[[str, float, float], None]
"""Told clip_id, seconds analysed, seconds in all."""

StageTimes = Callable[[dict[str, float]], None]
"""Told wall seconds by stage: verify, decode, persons, faces, tracking, evidence."""


@dataclass(frozen=True, slots=True)
class Detectors:
    """The two networks of this service; threads may share them."""

    persons: PersonDetector
    faces: FaceDetector

    @classmethod
    def load(cls, store: ModelStore, *, device: str = "cpu", threads: int = 0) -> Self:
        """Verify the champions and make them ready.

        Args:
            store: Where they are.
            device: For the face detector; see services.models.engine.
            threads: That one network may use; 0 for as many as there are cores.

        Raises:
            MissingModel: One is absent, or its bytes are not the ones its card names.
        """
        persons, faces = store.champion("person_detection"), store.champion("face_detection")
        # Only the CPU engine reads the person detector's format; `tracks` stays on the CPU in a cluster, too.
        return cls(
            PersonDetector(load_network(persons.card, persons.weights_path, threads=threads), persons.card),
            FaceDetector(load_network(faces.card, faces.weights_path, device=device, threads=threads), faces.card),
        )

    def refs(self) -> tuple[ModelRef, ...]:
        """Which exact weights speak."""
        return tuple(
            ModelRef(name=card.name, version=card.version, sha256=card.weights.sha256)
            for card in (self.persons.card, self.faces.card)
        )


def find_tracks(
    request: TracksRequest,
    detectors: Detectors,
    evidence_root: str,
    *,
    sources: ClipSources = ANY_LOCAL_FILE,
    on_progress: Progress | None = None,
    on_times: StageTimes | None = None,
) -> TracksResponse:
    """Follow everyone through a clip.

    The bundle is named by all it depends on (clip, span, models, parameters): one that is there is used again.

    Args:
        request: Which clip, and which part of it.
        detectors: Ready to run.
        evidence_root: Folder for bundles: a local path or fsspec url.
        sources: Where the clip may be read from. A service that answers others names them.
        on_progress: Called a few times a second.
        on_times: Called once, when a clip has been analysed anew.

    Returns:
        Tracks, and where their evidence lies.

    Raises:
        BadInput: The clip may not be read, cannot be reached, is not the one named, holds no video, or evidence
            cannot be stored.
    """
    models = detectors.refs()
    depends_on: dict[str, Any] = {
        "evidence_version": EVIDENCE_VERSION,
        "clip_id": request.clip.clip_id,
        "from_seconds": request.from_seconds,
        "to_seconds": request.to_seconds,
        "models": [model.model_dump() for model in models],
        "minimum_confidence": [detectors.persons.minimum_confidence, detectors.faces.minimum_confidence],
        "rate_hz": RATE_HZ,
        "longest_side_px": LONGEST_SIDE_PX,
    }
    key = evidence_key(depends_on)
    started = time.perf_counter()
    with _verified_file(request.clip, sources) as path:
        verify_seconds = time.perf_counter() - started
        if known := _known(evidence_root, key):
            evidence, meta = known
            return _respond(request, evidence, meta)
        with EvidenceWriter(evidence_root, key) as writer, _decode(request, path) as decoding:
            following = _follow(request, decoding, detectors, writer, on_progress)
            tracks = following.finish()
            meta = {
                "depends_on": depends_on,
                "video": _video(decoding).model_dump(),
                "models": depends_on["models"],
                "tracks": [track.model_dump() for track in tracks],
                "warnings": list(decoding.warnings),
            }
            evidence = writer.finish(meta)
    if on_times is not None:
        spent = {"verify": verify_seconds, **following.spent_seconds}
        on_times({**spent, "decode": time.perf_counter() - started - sum(spent.values())})
    return _respond(request, evidence, meta)


def _decode(request: TracksRequest, path: Path) -> Decoding:
    return decode(
        path,
        name=request.clip.uri,
        from_seconds=request.from_seconds,
        to_seconds=request.to_seconds,
        at_rate_hz=RATE_HZ,
        longest_side_px=LONGEST_SIDE_PX,
    )


def _follow(
    request: TracksRequest,
    decoding: Decoding,
    detectors: Detectors,
    writer: EvidenceWriter,
    on_progress: Progress | None,
) -> Following:
    following: Following | None = None
    total_seconds = request.to_seconds or decoding.clip.duration_seconds or 0.0
    for frame in decoding:
        if following is None:
            following = _start(decoding, detectors, writer, frame)
        following.take(frame)
        if on_progress is not None:
            done = frame.pts_seconds - request.from_seconds
            on_progress(request.clip.clip_id, done, max(total_seconds - request.from_seconds, done))
    assert following is not None, "decoding raises where there is no frame"
    return following


def _start(decoding: Decoding, detectors: Detectors, writer: EvidenceWriter, first: Frame) -> Following:
    return Following(
        detectors.persons,
        detectors.faces,
        writer,
        px_scale=decoding.clip.width_px / first.width_px,
        width_px=first.width_px,
        height_px=first.height_px,
    )


def _video(decoding: Decoding) -> Video:
    return Video(
        width_px=decoding.clip.width_px,
        height_px=decoding.clip.height_px,
        start_seconds=round(decoding.first_seconds or 0.0, 3),
        end_seconds=round(decoding.end_seconds, 3),
        frames=decoding.frames,
        codec=decoding.clip.codec,
    )


def _respond(request: TracksRequest, evidence: EvidenceRef, meta: dict[str, Any]) -> TracksResponse:
    return TracksResponse(
        clip=request.clip,
        video=Video.model_validate(meta["video"]),
        evidence=evidence,
        tracks=TypeAdapter(tuple[TrackSummary, ...]).validate_python(meta["tracks"]),
        models=TypeAdapter(tuple[ModelRef, ...]).validate_python(meta["models"]),
        warnings=tuple(meta["warnings"]),
    )


def _known(evidence_root: str, key: str) -> tuple[EvidenceRef, dict[str, Any]] | None:
    """The bundle of that key and its meta.json, unless it is absent or damaged."""
    uri = bundle_uri(evidence_root, key)
    found = read_bundle(uri)
    return None if found is None else (EvidenceRef(uri=uri, sha256=found[0]), found[1])


@contextlib.contextmanager
def _verified_file(clip: ClipRef, sources: ClipSources) -> Iterator[Path]:
    """The clip as a local file whose bytes are the ones named; a remote one is fetched once, for this long."""
    with sources.open(clip.uri) as opened, contextlib.ExitStack() as stack:
        copy = None
        if opened.path is None:
            copy = stack.enter_context(tempfile.NamedTemporaryFile(suffix=Path(clip.uri).suffix))
        digest = hashlib.sha256()
        for block in opened.blocks:
            digest.update(block)
            if copy is not None:
                copy.write(block)
        if digest.hexdigest() != clip.clip_id:
            # The true digest stays unsaid: it would tell files apart for somebody who cannot read them.
            raise BadInput(f"{clip.uri}: its sha256 is not the clip_id {clip.clip_id}; name the clip by its own digest")
        if copy is not None:
            copy.flush()
            yield Path(copy.name)
        else:
            assert opened.path is not None
            yield opened.path
