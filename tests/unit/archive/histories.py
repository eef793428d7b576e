"""Analyses to archive: made up, but with everything that a real one has."""

import hashlib
from collections.abc import Sequence
from datetime import datetime

from services.contracts.action import Action
from services.contracts.clip import ClipRef, ModelRef
from services.contracts.events import Analysis, Event, Provenance, TrackReport
from services.contracts.identity import Candidate, GalleryRef, Identity
from services.contracts.tracks import EvidenceRef, TrackSummary, Video

Deed = tuple[str, float, float]
"""Action, start and end in seconds."""
MODEL = ModelRef(name="some-network", version="1", sha256="c" * 64)


def digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()


def named(subject_id: str | None, *, runner_up: str | None = None) -> Identity:
    return Identity(
        subject_id=subject_id,
        decision="match" if subject_id else "unknown",
        similarity=0.95 if subject_id else 0.1 + 0.2,  # no short decimal: it must come back to the last bit
        runner_up=Candidate(subject_id=runner_up, similarity=1 / 3) if runner_up else None,
        threshold=0.9,
    )


def analysis_of(
    clip: str,
    people: Sequence[tuple[Identity, Sequence[Deed]]],
    *,
    camera_id: str | None = None,
    started_at: datetime | None = None,
    gallery: str = "g",
    seconds: float = 600.0,
) -> Analysis:
    """Tracks t1, t2, ... in view all along, each an identity and deeds."""
    reference = ClipRef(clip_id=digest(clip), uri=f"file:///{clip}.mp4", camera_id=camera_id, started_at=started_at)
    provenance = Provenance(
        evidence_sha256=digest(clip, "evidence"),
        tracks=(MODEL,),
        identity=(MODEL,),
        action=(MODEL,),
        gallery=GalleryRef(sha256=digest(gallery), embedding_space="s", subjects=3),
    )
    events, tracks = [], []
    for number, (identity, deeds) in enumerate(people, start=1):
        times = [second for _, *span in deeds for second in span] or [0.0, seconds]
        summary = TrackSummary(
            track_id=f"t{number}", start_seconds=min(times), end_seconds=max(times), boxes=9, faces=3
        )
        tracks.append(TrackReport(track=summary, identity=identity))
        for action, start, end in deeds:
            events.append(
                Event(
                    event_id=digest(clip, gallery, number, action, start, end, identity.subject_id),
                    clip_id=reference.clip_id,
                    track_id=f"t{number}",
                    identity=identity,
                    action=Action(name=action, probability=2 / 3),
                    start_seconds=start,
                    end_seconds=end,
                    provenance=provenance,
                    camera_id=camera_id,
                    started_at=reference.moment(start),
                    ended_at=reference.moment(end),
                )
            )
    return Analysis(
        status="complete",
        clip=reference,
        video=Video(width_px=64, height_px=48, start_seconds=0, end_seconds=seconds, frames=90, codec="h264"),
        evidence=EvidenceRef(uri=f"file:///evidence/{clip}.zip", sha256=provenance.evidence_sha256),
        tracks=tuple(tracks),
        events=tuple(sorted(events, key=lambda event: (event.start_seconds, event.event_id))),
        provenance=provenance,
    )
