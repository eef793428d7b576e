"""Who each track is: its best faces against the gallery, one decision a track."""

from services.contracts.card import IdentificationCalibration
from services.contracts.identity import Identity, IdentityResponse, Threshold, TrackIdentity
from services.contracts.tracks import TracksResponse, TrackSummary
from services.gallery.growth import find_shipped_tail, follow_growth
from services.gallery.snapshot import Snapshot
from services.gallery.store import Gallery
from services.identity.decide import FaceObservation, decide_identities
from services.identity.embed import FaceEmbedder
from services.perception.evidence import open_evidence

# Two tracks of one person may overlap by this much where the tracker hands over; more means two people.
_HANDOVER_SECONDS = 0.5


def identify_tracks(tracks: TracksResponse, embedder: FaceEmbedder, gallery: Gallery) -> IdentityResponse:
    """Decide who every track is.

    Nobody is in two places at once: of two tracks seen together that match one subject, the surer
    keeps the name and the other abstains.

    Args:
        tracks: The tracks service's answer; its evidence bundle is read, not the clip.
        embedder: Makes the embeddings; its card says where a match begins.
        gallery: Read afresh, so that an enrolment counts from the next clip on.

    Raises:
        BadInput: The gallery lies in another embedding space, or the bundle is not the one named.
        MissingModel: Neither gallery nor embedder has a calibrated threshold.
    """
    snapshot = gallery.snapshot(embedder.space)
    calibration, threshold = decide_threshold(snapshot, embedder)
    seen: list[list[FaceObservation]] = []
    with open_evidence(tracks.evidence.uri, tracks.evidence.sha256) as evidence:
        for track in tracks.tracks:
            faces = evidence.faces(track.track_id)
            vectors = embedder.embed([(face.rgb, face.landmarks_px) for face in faces])
            seen.append(
                [FaceObservation(vector, face.quality.overall) for vector, face in zip(vectors, faces, strict=True)]
            )
    decided = {
        track.track_id: TrackIdentity(track_id=track.track_id, identity=identity, faces_used=len(faces))
        for track, faces, identity in zip(
            tracks.tracks, seen, decide_identities(seen, snapshot, calibration), strict=True
        )
    }
    for loser, winner in _impossible_pairs(tracks.tracks, decided):
        decided[loser] = decided[loser].model_copy(update={"identity": _yield_name(decided[loser].identity, winner)})
    return IdentityResponse(
        tracks=tracks,
        gallery=snapshot.reference.model_copy(update={"threshold": threshold}),
        identities=tuple(decided.values()),
        models=(embedder.reference,),
    )


def decide_threshold(snapshot: Snapshot, embedder: FaceEmbedder) -> tuple[IdentificationCalibration, Threshold]:
    """The gallery's own calibration, else the embedder's, for as many people as are enrolled.

    Raises:
        MissingModel: Neither has one.
    """
    if snapshot.calibration is not None:
        return follow_growth(snapshot.calibration, snapshot.tail, snapshot.reference.subjects)
    own = embedder.calibration
    return follow_growth(own, find_shipped_tail(own), snapshot.reference.subjects)


def _impossible_pairs(tracks: tuple[TrackSummary, ...], decided: dict[str, TrackIdentity]) -> list[tuple[str, str]]:
    """(loser, winner) for every track that shares a name, and time, with a surer one."""
    matched = [track for track in tracks if decided[track.track_id].identity.decision == "match"]
    matched.sort(key=lambda track: (-(decided[track.track_id].identity.similarity or 0.0), track.track_id))
    pairs: list[tuple[str, str]] = []
    kept: list[TrackSummary] = []
    for track in matched:
        name = decided[track.track_id].identity.subject_id
        rivals = [
            rival
            for rival in kept
            if decided[rival.track_id].identity.subject_id == name
            and _overlap_seconds(rival, track) > _HANDOVER_SECONDS
        ]
        if rivals:
            pairs.append((track.track_id, rivals[0].track_id))
        else:
            kept.append(track)
    return pairs


def _overlap_seconds(one: TrackSummary, other: TrackSummary) -> float:
    return min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds)


def _yield_name(identity: Identity, winner: str) -> Identity:
    reason = f"{identity.subject_id} is more surely track {winner} at the same time"
    return Identity.model_validate(
        {**identity.model_dump(), "subject_id": None, "decision": "abstained", "reason": reason}
    )
