import json
from datetime import datetime, timedelta, timezone

import pytest

from services.contracts.action import Action, ActionResponse, ActionSegment, Toward
from services.contracts.clip import ClipRef, ModelRef
from services.contracts.errors import BadInput, Busy
from services.contracts.events import Event, EventsRequest, Failure
from services.contracts.identity import GalleryRef, Identity, IdentityResponse, TrackIdentity
from services.contracts.tracks import EvidenceRef, TracksResponse, TrackSummary, Video
from services.events.join import join_events

CLIP = ClipRef(clip_id="a" * 64, uri="file:///clip.mp4")


def tracks(evidence: str = "b" * 64) -> TracksResponse:
    return TracksResponse(
        clip=CLIP,
        video=Video(width_px=64, height_px=48, start_seconds=0, end_seconds=9, frames=90, codec="h264"),
        evidence=EvidenceRef(uri="file:///e.zip", sha256=evidence),
        tracks=tuple(
            TrackSummary(track_id=name, start_seconds=0, end_seconds=9, boxes=90, faces=3) for name in ("t1", "t2")
        ),
        models=(ModelRef(name="persons", version="1", sha256="c" * 64),),
    )


def identities() -> IdentityResponse:
    ada = Identity(subject_id="ada", decision="match", similarity=0.95, threshold=0.9)
    unknown = Identity(subject_id=None, decision="unknown", similarity=0.4, threshold=0.9)
    return IdentityResponse(
        tracks=tracks(),
        gallery=GalleryRef(sha256="d" * 64, embedding_space="s", subjects=1),
        identities=(
            TrackIdentity(track_id="t1", identity=ada, faces_used=3),
            TrackIdentity(track_id="t2", identity=unknown, faces_used=3),
        ),
        models=(ModelRef(name="faces", version="1", sha256="e" * 64),),
    )


def actions(probability: float = 0.9) -> ActionResponse:
    def segment(track_id: str, name: str, start: float, end: float) -> ActionSegment:
        action = Action(name=name, probability=probability)
        return ActionSegment(track_id=track_id, action=action, start_seconds=start, end_seconds=end)

    return ActionResponse(
        tracks=tracks(),
        segments=(segment("t1", "walk", 0, 4), segment("t1", "wave", 4, 9), segment("t2", "fall", 2, 5)),
        models=(ModelRef(name="actions", version="1", sha256="f" * 64),),
    )


def test_each_segment_becomes_an_event_of_its_tracks_identity() -> None:
    analysis = join_events(EventsRequest(identity=identities(), action=actions()))
    said = [(e.identity.subject_id, e.action.name, e.start_seconds, e.end_seconds) for e in analysis.events]
    assert said == [("ada", "walk", 0, 4), (None, "fall", 2, 5), ("ada", "wave", 4, 9)]
    assert analysis.status == "complete"
    assert analysis.provenance.gallery == identities().gallery


def test_a_retry_gives_the_same_ids_and_another_answer_others() -> None:
    def ids(probability: float = 0.9) -> list[str]:
        request = EventsRequest(identity=identities(), action=actions(probability))
        return [event.event_id for event in join_events(request).events]

    assert ids() == ids()
    assert len(set(ids())) == 3
    assert not set(ids()) & set(ids(probability=0.8))


def test_without_identities_every_event_is_abstained_and_the_analysis_partial() -> None:
    analysis = join_events(EventsRequest(identity=Failure(error="gallery is gone"), action=actions()))
    assert analysis.status == "partial"
    assert analysis.failures == {"identity": "gallery is gone"}
    assert {event.identity.decision for event in analysis.events} == {"abstained"}
    assert analysis.provenance.identity is None


def test_without_actions_people_are_still_named() -> None:
    analysis = join_events(EventsRequest(identity=identities(), action=Failure(error="no weights")))
    assert analysis.status == "partial"
    assert analysis.events == ()
    assert [report.identity.subject_id for report in analysis.tracks] == ["ada", None]


def test_two_failures_are_an_error_that_names_both() -> None:
    with pytest.raises(BadInput, match="identity: one; action: two"):
        join_events(EventsRequest(identity=Failure(error="one"), action=Failure(error="two")))


def test_answers_about_different_evidence_are_refused() -> None:
    other = actions().model_copy(update={"tracks": tracks(evidence="9" * 64)})
    with pytest.raises(BadInput, match="same tracks response"):
        join_events(EventsRequest(identity=identities(), action=other))


def test_events_of_a_dated_clip_carry_its_camera_and_times_and_keep_their_ids() -> None:
    undated = join_events(EventsRequest(identity=identities(), action=actions()))
    assert b"started_at" not in undated.events[0].to_json()
    started_at = datetime(2026, 3, 1, 10, tzinfo=timezone(timedelta(hours=1)))
    clip = CLIP.model_copy(update={"camera_id": "gate", "started_at": started_at})
    seen = tracks().model_copy(update={"clip": clip})
    request = EventsRequest(
        identity=identities().model_copy(update={"tracks": seen}), action=actions().model_copy(update={"tracks": seen})
    )
    dated = join_events(request)
    assert [event.event_id for event in dated.events] == [event.event_id for event in undated.events]
    for event in dated.events:
        assert event.camera_id == "gate"
        assert event.started_at == started_at + timedelta(seconds=event.start_seconds)
        assert event.ended_at == started_at + timedelta(seconds=event.end_seconds)
    assert b'"started_at":"2026-03-01T09:00:00Z"' in dated.events[0].to_json()


def test_a_branch_that_is_only_busy_makes_no_partial_analysis() -> None:
    busy = Failure(error="16 requests are waiting already", retry_after_seconds=7)
    with pytest.raises(Busy, match="identity: 16 requests") as caught:
        join_events(EventsRequest.model_validate({"identity": busy, "action": Failure(error="down")}))
    assert caught.value.retry_after_seconds == 7


def part(track_id: str, name: str, start: float, end: float) -> ActionSegment:
    action = Action(name=name, probability=0.8)
    return ActionSegment(track_id=track_id, action=action, start_seconds=start, end_seconds=end)


def test_an_event_says_what_it_was_part_of() -> None:
    behaviours = (part("t1", "fight", 3.5, 8), part("t2", "lie", 0, 9))
    analysis = join_events(
        EventsRequest(identity=identities(), action=actions().model_copy(update={"behaviours": behaviours}))
    )
    said = [(e.track_id, e.action.name, e.behaviour.name if e.behaviour else None) for e in analysis.events]
    # Half a second of the walk is not half of it, and nobody is part of what another does.
    assert said == [("t1", "walk", None), ("t2", "fall", "lie"), ("t1", "wave", "fight")]
    assert "behaviour" not in json.loads(analysis.events[0].to_json())


def test_a_short_behaviour_goes_with_the_action_it_shares_most_time_with() -> None:
    told = actions().model_copy(update={"behaviours": (part("t1", "fight", 3, 4.5),)})
    events = join_events(EventsRequest(identity=identities(), action=told)).events
    assert [(e.action.name, e.behaviour is not None) for e in events] == [
        ("walk", True),
        ("fall", False),
        ("wave", False),
    ]


def test_a_behaviour_without_an_action_is_an_event_of_its_own() -> None:
    alone = part("t2", "fight", 6, 8)
    analysis = join_events(
        EventsRequest(identity=identities(), action=actions().model_copy(update={"behaviours": (alone,)}))
    )
    (found,) = [event for event in analysis.events if event.behaviour is not None]
    assert (found.action, found.behaviour, found.start_seconds, found.end_seconds) == (alone.action, alone.action, 6, 8)
    assert (found.track_id, found.identity.decision) == ("t2", "unknown")


def test_behaviours_change_the_ids_of_their_own_events_only() -> None:
    before = join_events(EventsRequest(identity=identities(), action=actions())).events
    told = actions().model_copy(update={"behaviours": (part("t1", "fight", 4, 9),)})
    after = join_events(EventsRequest(identity=identities(), action=told)).events
    assert [a.event_id == b.event_id for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_the_graph_that_ran_is_part_of_who_said_so_and_of_the_id() -> None:
    request = EventsRequest(identity=identities(), action=actions())
    before, known, other = (join_events(request, graph_sha256=graph) for graph in (None, "1" * 64, "2" * 64))
    assert known.provenance.graph_sha256 == known.events[0].provenance.graph_sha256 == "1" * 64
    assert len({analysis.events[0].event_id for analysis in (before, known, other)}) == 3
    # An event from before graphs were recorded reads, and says, what it always did.
    assert b"graph" not in before.to_json()


def test_an_event_says_whom_it_was_done_to_and_its_id_covers_that() -> None:
    push = part("t1", "push", 1, 4)
    toward = push.model_copy(update={"toward": Toward(track_id="t2", share=0.9)})

    def told(segment: ActionSegment, identity: IdentityResponse) -> Event:
        told = actions().model_copy(update={"segments": (segment,)})
        (event,) = join_events(EventsRequest(identity=identity, action=told)).events
        return event

    event, plain = told(toward, identities()), told(push, identities())
    assert event.toward == Toward(track_id="t2", share=0.9)
    assert event.event_id != plain.event_id
    assert b"toward" not in plain.to_json()
    # Two tracks of one person: nobody pushes themselves.
    ada = identities().identities[0]
    twins = identities().model_copy(update={"identities": (ada, ada.model_copy(update={"track_id": "t2"}))})
    assert told(toward, twins).toward is None
    assert told(toward, twins).event_id == told(push, twins).event_id
