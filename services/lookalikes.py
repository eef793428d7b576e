"""`whodid events --face IMAGE`: where else was this person? Named or not, enrolled or not."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.archive.query import EventQuery, Sighting
from services.archive.store import Archive
from services.console import ProgressBars, warn
from services.contracts.errors import BadInput
from services.enrolment import Enroller
from services.history import open_any_evidence
from services.identity.decide import MINIMUM_QUALITY
from services.identity.embed import FaceEmbedder
from services.perception.evidence import Evidence
from services.settings import Settings

# The archive keeps no embeddings, so that a copy of it recognises nobody: faces are embedded anew from the evidence
# for every question. A track of a dozen faces takes a core 0.15 s, so this many take minutes.
MOST_TRACKS = 1000


def find_by_face(archive: Archive, query: EventQuery, image: Path, settings: Settings) -> Iterator[Sighting]:
    """Events of tracks whose faces match the one in a picture.

    A track's faces are pooled by quality, as they are when it is identified, and compared at the embedder's
    calibrated threshold. At most MOST_TRACKS are looked at, the latest first.

    Args:
        archive: Where to search.
        query: What else must fit; the narrower, the fewer faces are embedded.
        image: Of one face.
        settings: Name the models.

    Returns:
        By time.

    Raises:
        BadInput: The picture holds no face, several, or too poor a one.
        MissingModel: A model is absent, or the embedder has no calibrated threshold.
    """
    enroller = Enroller.load(settings)
    embedder = enroller.embedder
    threshold = embedder.calibration.threshold
    probe = _pool([(template.embedding.vector, template.quality) for template in enroller.make_templates("?", image)])
    by_track: dict[tuple[str, str], list[Sighting]] = {}
    for sighting in archive.find_events(replace(query, limit=None, page=1)):
        by_track.setdefault((sighting.analysis_id, sighting.event.track_id), []).append(sighting)
    latest = sorted(by_track, key=lambda track: _when(by_track[track][-1]), reverse=True)
    if len(latest) > MOST_TRACKS:
        warn(f"whodid: looked at the latest {MOST_TRACKS} of {len(latest)} tracks: narrow with --between or --camera")
    found: list[Sighting] = []
    gone = 0
    with ProgressBars(unit="clips") as bars:
        chosen = sorted(latest[:MOST_TRACKS])
        for analysis_id, tracks in groupby(chosen, key=lambda track: track[0]):
            (record,) = archive.find_analyses(analysis_id=analysis_id)
            try:
                evidence = open_any_evidence(record)
            except BadInput:
                gone += 1
                continue
            with evidence:
                for track in tracks:
                    vector = embed_track(evidence, track[1], embedder)
                    if vector is not None and float(vector @ probe) >= threshold:
                        found += by_track[track]
            bars.advance_to("faces", len(found), len(chosen))
    if gone:
        warn(f"whodid: the evidence of {gone} analyses is gone; their faces were not looked at")
    found.sort(key=lambda sighting: (_when(sighting), sighting.event.event_id))
    start = 0 if query.limit is None else (query.page - 1) * query.limit
    return iter(found[start:] if query.limit is None else found[start : start + query.limit])


def embed_track(evidence: Evidence, track_id: str, embedder: FaceEmbedder) -> NDArray[np.float32] | None:
    """One direction for a track, its usable faces pooled by quality; None where there are none."""
    faces = [face for face in evidence.faces(track_id) if face.quality.overall >= MINIMUM_QUALITY]
    if not faces:
        return None
    vectors = embedder.embed([(face.rgb, face.landmarks_px) for face in faces])
    return _pool([(vector, face.quality.overall) for vector, face in zip(vectors, faces, strict=True)])


def _pool(faces: list[tuple[NDArray[np.float32], float]]) -> NDArray[np.float32]:
    pooled = np.sum([quality * vector for vector, quality in faces], axis=0)
    unit: NDArray[np.float32] = (pooled / np.linalg.norm(pooled)).astype(np.float32)
    return unit


def _when(sighting: Sighting) -> tuple[float, str, float]:
    """In order of time; clips without a date come first, each by itself."""
    started = sighting.event.started_at
    return (started.timestamp() if started else 0.0, sighting.event.clip_id, sighting.event.start_seconds)
