"""What the `events` service is handed by the Ensemble and answers: who did what, from when to when."""

from typing import Literal

from pydantic import AwareDatetime, Field

from services.contracts.action import Action, ActionResponse, Toward
from services.contracts.clip import ClipRef, ModelRef
from services.contracts.identity import GalleryRef, Identity, IdentityResponse
from services.contracts.message import Message, Seconds, Sha256
from services.contracts.tracks import EvidenceRef, TrackSummary, Video


class Failure(Message):
    """The error body of a service; the router merges a soft branch's without marking it."""

    error: str
    retry_after_seconds: int | None = Field(None, ge=0, description="There when the same request will do later.")


class EventsRequest(Message):
    """The Ensemble's map: each branch's answer, or its error body."""

    identity: IdentityResponse | Failure
    action: ActionResponse | Failure


def _is_none(value: object) -> bool:
    return value is None


class Provenance(Message):
    """Which exact models, gallery and evidence said so. Null where that branch failed."""

    evidence_sha256: Sha256
    tracks: tuple[ModelRef, ...]
    identity: tuple[ModelRef, ...] | None
    action: tuple[ModelRef, ...] | None
    gallery: GalleryRef | None
    graph_sha256: Sha256 | None = Field(
        None, exclude_if=_is_none, description="Of the InferenceGraph's file; left out where `events` has none."
    )


class Event(Message):
    """Who did what, from when to when, and who says so.

    Camera and date stand in it only where the clip's are known; they are no part of its id.
    """

    event_id: Sha256 = Field(description="Digest of clip, track, decision and versions: a retry gives the same.")
    clip_id: Sha256
    track_id: str
    identity: Identity
    action: Action
    start_seconds: Seconds
    end_seconds: Seconds
    provenance: Provenance
    behaviour: Action | None = Field(
        None,
        exclude_if=_is_none,
        description="What the action is part of, such as a fight; where no action is named, the same as `action`.",
    )
    toward: Toward | None = Field(
        None, exclude_if=_is_none, description="Whom it was done to, such as who was pushed; another track of the clip."
    )
    pseudonym: str | None = Field(
        None, exclude_if=_is_none, description="Of somebody unknown; given by the archive, and no part of the id."
    )
    camera_id: str | None = Field(None, exclude_if=_is_none)
    started_at: AwareDatetime | None = Field(None, exclude_if=_is_none)
    ended_at: AwareDatetime | None = Field(None, exclude_if=_is_none)


class TrackReport(Message):
    """One person of the clip, whether or not anything they did became an event."""

    track: TrackSummary
    identity: Identity


class Analysis(Message):
    """The whole answer for one clip (`analysis.json`)."""

    schema_version: Literal["1"] = "1"
    status: Literal["complete", "partial"]
    failures: dict[str, str] = Field(default_factory=dict, description="Branch name to its error.")
    clip: ClipRef
    video: Video
    evidence: EvidenceRef
    tracks: tuple[TrackReport, ...]
    events: tuple[Event, ...]
    provenance: Provenance
    warnings: tuple[str, ...] = ()
