"""One decision per track: match, unknown, or abstained."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import IdentificationCalibration
from services.contracts.identity import Candidate, Identity
from services.gallery.snapshot import Ranked, Snapshot

# A crop below this says more about blur and pose than about the person (see perception's quality parts).
MINIMUM_QUALITY = 0.2
# Votes for somebody else above this share mean the track may hold two people: naming one would be a guess.
CONFLICT_SHARE = 0.25
# Similarities are said, and compared, to as many digits as thresholds are calibrated to.
_DIGITS = 4


@dataclass(frozen=True, slots=True, eq=False)
class FaceObservation:
    """One face of a track.

    Attributes:
        vector: (D,) float32, unit norm.
        quality: 0 to 1.
    """

    vector: NDArray[np.float32]
    quality: float


def decide_identities(
    tracks: Sequence[Sequence[FaceObservation]], gallery: Snapshot, calibration: IdentificationCalibration
) -> list[Identity]:
    """Pool each track's faces by quality into one template and search the gallery with it, all tracks in one pass.

    A subject's similarity is that of its nearest template, unless a face that was said not to be theirs
    lies nearer: then they do not come into question. At or above the calibrated threshold the
    nearest subject matches, unless the runner-up is within the ambiguity margin or a good share of
    the track's single faces matches somebody else; then it abstains.

    Args:
        tracks: What was seen of each; may be empty.
        gallery: Searched in its own embedding space.
        calibration: Threshold and margin, with the FPIR they were measured at.

    Returns:
        A decision for each, with similarity, runner-up and threshold.
    """
    usable = [[face for face in faces if face.quality >= MINIMUM_QUALITY] for faces in tracks]
    # A large gallery costs a pass through memory, not arithmetic: everybody is searched for in one.
    probes = [row for faces in usable for row in _probes(faces)]
    rows = iter(gallery.similarities(np.stack(probes).astype(np.float32)) if probes else ())
    return [
        _decide(bool(seen), faces, [gallery.rank(next(rows)) for _ in _probes(faces)], calibration)
        for seen, faces in zip(tracks, usable, strict=True)
    ]


def decide_identity(
    faces: Sequence[FaceObservation], gallery: Snapshot, calibration: IdentificationCalibration
) -> Identity:
    """Decide for one track; see `decide_identities`."""
    return decide_identities([faces], gallery, calibration)[0]


def _probes(faces: Sequence[FaceObservation]) -> list[NDArray[np.floating]]:
    """The faces pooled, then each by itself where there are several: (D,) unit vectors."""
    if len(faces) < 2:
        return [face.vector for face in faces]
    vectors = [face.vector for face in faces]
    pooled = np.array([face.quality for face in faces]) @ np.stack(vectors)
    return [pooled / np.linalg.norm(pooled), *vectors]


def _decide(
    seen: bool,
    usable: Sequence[FaceObservation],
    ranked: Sequence[Sequence[Ranked]],
    calibration: IdentificationCalibration,
) -> Identity:
    """The decision, from who lies nearest to the pooled faces (first) and to each single one of several."""
    threshold = calibration.threshold
    if not usable:
        reason = f"every face below quality {MINIMUM_QUALITY}" if seen else "no face seen"
        return Identity(subject_id=None, decision="abstained", reason=reason, threshold=threshold)
    track, *single = ranked if len(ranked) > 1 else [*ranked, *ranked]
    if not track:  # nobody is enrolled, or whoever is near enough was said not to be on such faces
        return Identity(subject_id=None, decision="unknown", threshold=threshold)
    best, runner_up = _candidate(track[0]), _candidate(track[1]) if len(track) > 1 else None

    def answer(subject_id: str | None, decision: str, reason: str | None = None) -> Identity:
        return Identity.model_validate(
            {
                "subject_id": subject_id,
                "decision": decision,
                "reason": reason,
                "similarity": best.similarity,
                "runner_up": runner_up,
                "threshold": threshold,
            }
        )

    # Asked first: two people pooled resemble neither, and would pass for a stranger.
    qualities = np.array([face.quality for face in usable])
    if _share_of_second(single, qualities, threshold) > CONFLICT_SHARE:
        return answer(None, "abstained", "the track's faces match different subjects")
    if best.similarity < threshold:
        return answer(None, "unknown")
    if runner_up is not None and best.similarity - runner_up.similarity < calibration.ambiguity_margin:
        return answer(None, "abstained", f"{best.subject_id} and {runner_up.subject_id} are too close to tell apart")
    return answer(best.subject_id, "match")


def _share_of_second(faces: Sequence[Sequence[Ranked]], qualities: NDArray[np.float64], threshold: float) -> float:
    """Share of the faces' quality that, face by face, matches another subject than most of it does."""
    votes: dict[str, float] = {}
    for ranked, quality in zip(faces, qualities, strict=True):
        if ranked and round(ranked[0].similarity, _DIGITS) >= threshold:
            votes[ranked[0].subject_id] = votes.get(ranked[0].subject_id, 0.0) + float(quality)
    return (sum(votes.values()) - max(votes.values(), default=0.0)) / float(qualities.sum())


def _candidate(ranked: Ranked) -> Candidate:
    return Candidate(subject_id=ranked.subject_id, similarity=round(ranked.similarity, _DIGITS))
