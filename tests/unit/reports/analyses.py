"""Analyses to report on, made up but plausible."""

import hashlib
from collections.abc import Sequence

from services.contracts.action import Action
from services.contracts.clip import ClipRef, ModelRef
from services.contracts.events import Analysis, Event, Provenance, TrackReport
from services.contracts.identity import Candidate, GalleryRef, Identity
from services.contracts.tracks import EvidenceRef, TrackSummary, Video


def digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


def match(subject_id: str, similarity: float = 0.71) -> Identity:
    return Identity(
        subject_id=subject_id,
        decision="match",
        similarity=similarity,
        runner_up=Candidate(subject_id="zoe", similarity=0.31),
        threshold=0.52,
    )


UNKNOWN = Identity(subject_id=None, decision="unknown", similarity=0.33, threshold=0.52)
NOT_SURE = Identity(subject_id=None, decision="abstained", reason="no face seen", threshold=0.52)

Deed = tuple[str, float, float, float]
"""Action, start and end in seconds, probability."""


def analysis_of(
    people: Sequence[tuple[Identity, float, float, Sequence[Deed]]],
    *,
    seconds: float = 12.0,
    size_px: tuple[int, int] = (1280, 720),
    rate_fps: float = 25.0,
    failures: dict[str, str] | None = None,
    warnings: tuple[str, ...] = (),
    uri: str = "file:///clips/yard.mp4",
) -> Analysis:
    """An analysis of tracks "1", "2", ...: each an identity, from, to, and deeds."""
    failures = failures or {}
    model = {
        name: ModelRef(name=name, version="1", sha256=digest(name)) for name in ("centerface", "ssdlite", "dlib", "cnn")
    }
    provenance = Provenance(
        evidence_sha256=digest("evidence"),
        tracks=(model["ssdlite"], model["centerface"]),
        identity=None if "identity" in failures else (model["dlib"],),
        action=None if "action" in failures else (model["cnn"],),
        gallery=None
        if "identity" in failures
        else GalleryRef(sha256=digest("g"), embedding_space="dlib-1", subjects=4),
    )
    tracks, events = [], []
    for number, (identity, start, end, deeds) in enumerate(people, start=1):
        track = TrackSummary(
            track_id=str(number), start_seconds=start, end_seconds=end, boxes=int((end - start) * 10), faces=5
        )
        tracks.append(TrackReport(track=track, identity=identity))
        for action, begin, finish, probability in deeds:
            events.append(
                Event(
                    event_id=digest(f"{number}{action}{begin}"),
                    clip_id=digest("clip"),
                    track_id=str(number),
                    identity=identity,
                    action=Action(name=action, probability=probability),
                    start_seconds=begin,
                    end_seconds=finish,
                    provenance=provenance,
                )
            )
    return Analysis(
        status="partial" if failures else "complete",
        failures=failures,
        clip=ClipRef(clip_id=digest("clip"), uri=uri),
        video=Video(
            width_px=size_px[0],
            height_px=size_px[1],
            start_seconds=0,
            end_seconds=seconds,
            frames=round(seconds * rate_fps),
            codec="h264",
        ),
        evidence=EvidenceRef(uri="file:///evidence/x", sha256=digest("evidence")),
        tracks=tuple(tracks),
        events=tuple(sorted(events, key=lambda event: (event.start_seconds, event.track_id))),
        provenance=provenance,
        warnings=warnings,
    )
