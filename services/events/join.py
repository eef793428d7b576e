"""Who did what, from when to when: identities and action segments, joined on their track."""

import hashlib
import json
from collections.abc import Mapping, Sequence

from services.contracts.action import Action, ActionResponse, ActionSegment
from services.contracts.clip import ClipRef
from services.contracts.errors import BadInput, Busy
from services.contracts.events import Analysis, Event, EventsRequest, Failure, Provenance, TrackReport
from services.contracts.identity import Identity, IdentityResponse
from services.contracts.tracks import TracksResponse

IDENTITY_FAILED = "the identity service failed"
# An event is part of a behaviour that covers at least so much of it.
_LEAST_SHARE = 0.5


def join_events(request: EventsRequest, *, graph_sha256: str | None = None) -> Analysis:
    """Join both branches' answers for one clip.

    When one branch failed the other's half is kept and the analysis says `partial`: without
    identities every event is abstained, without actions there are no events.

    Args:
        request: The Ensemble's map of branch to answer or error body.
        graph_sha256: Digest of the graph's file, where it is known.

    Returns:
        Events by start, then track. Event ids are digests, so a retry gives the same ids.

    Raises:
        BadInput: Both branches failed, or they speak of different evidence.
        Busy: A branch has no room just now.
    """
    identity, action = request.identity, request.action
    for name, branch in (("identity", identity), ("action", action)):
        if isinstance(branch, Failure) and branch.retry_after_seconds is not None:
            # Half an answer where the whole one is a matter of seconds would be archived as if nothing better existed.
            raise Busy(f"{name}: {branch.error}", retry_after_seconds=branch.retry_after_seconds)
    tracks = _agreed_tracks(identity, action)
    identities = (
        {answer.track_id: answer.identity for answer in identity.identities}
        if isinstance(identity, IdentityResponse)
        else {}
    )
    nobody = Identity(subject_id=None, decision="abstained", reason=IDENTITY_FAILED)
    provenance = Provenance(
        evidence_sha256=tracks.evidence.sha256,
        tracks=tracks.models,
        identity=identity.models if isinstance(identity, IdentityResponse) else None,
        action=action.models if isinstance(action, ActionResponse) else None,
        gallery=identity.gallery if isinstance(identity, IdentityResponse) else None,
        graph_sha256=graph_sha256,
    )
    said = _say(action.segments, action.behaviours) if isinstance(action, ActionResponse) else []
    events = [
        _event(
            tracks.clip,
            _spare_themselves(segment, identities),
            behaviour,
            identities.get(segment.track_id, nobody),
            provenance,
        )
        for segment, behaviour in sorted(said, key=lambda each: (each[0].start_seconds, each[0].track_id))
    ]
    branches = {"identity": identity, "action": action}
    failures = {name: branch.error for name, branch in branches.items() if isinstance(branch, Failure)}
    return Analysis(
        status="partial" if failures else "complete",
        failures=failures,
        clip=tracks.clip,
        video=tracks.video,
        evidence=tracks.evidence,
        tracks=tuple(
            TrackReport(track=track, identity=identities.get(track.track_id, nobody)) for track in tracks.tracks
        ),
        events=tuple(events),
        provenance=provenance,
        warnings=tracks.warnings,
    )


def _agreed_tracks(identity: IdentityResponse | Failure, action: ActionResponse | Failure) -> TracksResponse:
    if isinstance(identity, Failure) and isinstance(action, Failure):
        raise BadInput(f"both branches failed: identity: {identity.error}; action: {action.error}")
    answers = [branch.tracks for branch in (identity, action) if not isinstance(branch, Failure)]
    if any(other.evidence != answers[0].evidence for other in answers):
        raise BadInput(
            f"identity read evidence {answers[0].evidence.sha256}, action {answers[1].evidence.sha256}: "
            "hand both branches the same tracks response"
        )
    return answers[0]


def _say(
    segments: Sequence[ActionSegment], behaviours: Sequence[ActionSegment]
) -> list[tuple[ActionSegment, Action | None]]:
    """Each action with the behaviour it is part of.

    A behaviour that covers half of no action goes with the one it shares most time with; it stands for itself where
    no action is named meanwhile, or that one is part of another behaviour.
    """
    part_of: list[Action | None] = []
    carried = set[int]()
    for segment in segments:
        length = segment.end_seconds - segment.start_seconds
        shares = [_overlap_seconds(segment, behaviour) / length for behaviour in behaviours]
        best = max(range(len(shares)), key=lambda number: shares[number], default=None)
        if best is None or shares[best] < _LEAST_SHARE:
            part_of.append(None)
        else:
            carried.add(best)
            part_of.append(behaviours[best].action)
    alone: list[tuple[ActionSegment, Action | None]] = []
    for number, behaviour in enumerate(behaviours):
        if number in carried:
            continue
        seconds = [_overlap_seconds(segment, behaviour) for segment in segments]
        longest = max(range(len(seconds)), key=lambda index: seconds[index], default=None)
        if longest is not None and seconds[longest] > 0 and part_of[longest] is None:
            part_of[longest] = behaviour.action
        else:
            alone.append((behaviour, behaviour.action))
    return [*zip(segments, part_of, strict=True), *alone]


def _overlap_seconds(one: ActionSegment, other: ActionSegment) -> float:
    if one.track_id != other.track_id:
        return 0.0
    return max(0.0, min(one.end_seconds, other.end_seconds) - max(one.start_seconds, other.start_seconds))


def _spare_themselves(segment: ActionSegment, identities: Mapping[str, Identity]) -> ActionSegment:
    """Nobody acts toward themselves: where both tracks were recognised as one person, toward nobody is left out."""
    if segment.toward is None:
        return segment
    who, whom = (identities.get(track_id) for track_id in (segment.track_id, segment.toward.track_id))
    same = who is not None and whom is not None and who.subject_id is not None and who.subject_id == whom.subject_id
    return segment.model_copy(update={"toward": None}) if same else segment


def identify_event(
    clip_id: str,
    segment: ActionSegment,
    identity: Identity,
    provenance: Provenance,
    behaviour: Action | None = None,
) -> str:
    """The id of an event: the digest of what it says and who says so."""
    said: dict[str, object] = {
        "clip_id": clip_id,
        "segment": segment.model_dump(mode="json"),
        "identity": identity.model_dump(mode="json"),
        "provenance": provenance.model_dump(mode="json"),
    }
    if behaviour is not None:
        # Only where there is one: events from before behaviours were told keep their ids.
        said["behaviour"] = behaviour.model_dump(mode="json")
    canonical = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(canonical).hexdigest()


def _event(
    clip: ClipRef, segment: ActionSegment, behaviour: Action | None, identity: Identity, provenance: Provenance
) -> Event:
    return Event(
        event_id=identify_event(clip.clip_id, segment, identity, provenance, behaviour),
        clip_id=clip.clip_id,
        track_id=segment.track_id,
        identity=identity,
        action=segment.action,
        start_seconds=segment.start_seconds,
        end_seconds=segment.end_seconds,
        provenance=provenance,
        behaviour=behaviour,
        toward=segment.toward,
        camera_id=clip.camera_id,
        started_at=clip.moment(segment.start_seconds),
        ended_at=clip.moment(segment.end_seconds),
    )
