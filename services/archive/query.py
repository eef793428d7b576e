"""Questions to the archive, and the answers: who was seen doing what, where, when and with whom."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from services.archive.moments import EARLIEST_US, from_microseconds, to_microseconds
from services.archive.tables import ANALYSES, EVENTS, TRACKS
from services.contracts.action import Action, Toward
from services.contracts.clip import ClipRef
from services.contracts.errors import BadUsage
from services.contracts.events import Event, Provenance
from services.contracts.identity import Candidate, Identity
from services.contracts.tracks import Video

_DIGEST_LETTERS = 64


@dataclass(frozen=True, slots=True)
class EventQuery:
    """What is asked; everything that is not None must fit.

    Attributes:
        subject_id: Who it was.
        pseudonyms: What that subject was called before they were named: those count as them.
        unknown: Only people who are not enrolled (decision "unknown").
        action: What they did.
        behaviour: What it was part of.
        camera_id: Where.
        clip_id: In this clip.
        event_ids: One of these.
        from_time: It began at this moment or later; clips without a date never fit.
        to_time: It began before this moment; likewise.
        with_subject_id: This subject was in view of the same clip at some time while it lasted, on another track.
        with_pseudonyms: Likewise theirs.
        camera_ids: On one of these.
        limit: At most so many.
        page: From 1: passes over the `limit` answers of each page before.
    """

    subject_id: str | None = None
    pseudonyms: Sequence[str] = ()
    unknown: bool = False
    action: str | None = None
    behaviour: str | None = None
    camera_id: str | None = None
    clip_id: str | None = None
    event_ids: Sequence[str] | None = None
    from_time: datetime | None = None
    to_time: datetime | None = None
    with_subject_id: str | None = None
    with_pseudonyms: Sequence[str] = ()
    camera_ids: Sequence[str] | None = None
    limit: int | None = None
    page: int = 1

    def __post_init__(self) -> None:
        if self.unknown and self.subject_id is not None:
            raise BadUsage(f"{self.subject_id!r} and unknown people: nobody is both")
        if self.page < 1 or (self.limit is not None and self.limit < 1):
            raise BadUsage(f"limit {self.limit}, page {self.page}: both count from 1")
        if self.page > 1 and self.limit is None:
            raise BadUsage(f"page {self.page} of what length? give a limit")
        if self.from_time is not None and self.to_time is not None and self.to_time <= self.from_time:
            raise BadUsage(f"nothing lies between {self.from_time.isoformat()} and {self.to_time.isoformat()}")


@dataclass(frozen=True, slots=True)
class Sighting:
    """An event, and what the archive knows around it.

    Attributes:
        event: As it was recorded, but for names erased and dates added since.
        clip: Where it was seen.
        analysis_id: Of which analysis.
        video: What was decoded; None where an old archive did not keep it.
    """

    event: Event
    clip: ClipRef
    analysis_id: str
    video: Video | None


def select_sightings(query: EventQuery) -> sa.Select[Any]:
    """The rows of the answer, by time and then id."""
    columns = EVENTS.c
    statement = _select().order_by(columns.at_us, columns.event_id)
    if query.subject_id is not None:
        statement = statement.where(_is_called(columns, query.subject_id, query.pseudonyms))
    equal = (
        (columns.action, query.action),
        (columns.behaviour, query.behaviour),
        (columns.camera_id, query.camera_id),
    )
    statement = statement.where(*(column == asked for column, asked in equal if asked is not None))
    if query.unknown:
        statement = statement.where(columns.subject_id.is_(None), columns.decision == "unknown")
    if query.camera_ids is not None:
        statement = statement.where(columns.camera_id.in_(query.camera_ids))
    if query.clip_id is not None:
        of_clip = sa.select(ANALYSES.c.analysis_no).where(ANALYSES.c.clip_id == query.clip_id)
        statement = statement.where(columns.analysis_no.in_(of_clip))
    if query.event_ids is not None:
        statement = statement.where(columns.event_id.in_(query.event_ids))
    if query.from_time is not None:
        statement = statement.where(columns.at_us >= to_microseconds(query.from_time))
    if query.to_time is not None:
        # Below the first lie clips without a date, which no question about a time finds.
        statement = statement.where(columns.at_us >= EARLIEST_US, columns.at_us < to_microseconds(query.to_time))
    if query.with_subject_id is not None:
        other = TRACKS.alias("other")
        statement = statement.where(
            sa.exists().where(
                other.c.analysis_no == columns.analysis_no,
                _is_called(other.c, query.with_subject_id, query.with_pseudonyms),
                other.c.track_id != columns.track_id,
                other.c.start_seconds < columns.end_seconds,
                other.c.end_seconds > columns.start_seconds,
            )
        )
    if query.limit is not None:
        statement = statement.limit(query.limit).offset((query.page - 1) * query.limit)
    return statement


def select_by_id(beginning: str) -> sa.Select[Any]:
    """Rows of every event whose id begins so.

    Raises:
        BadUsage: It is no beginning of a digest.
    """
    if not re.fullmatch(r"[0-9a-f]{4,64}", beginning):
        raise BadUsage(f"{beginning!r} is no event id: give 4 to 64 hexadecimal digits of one")
    first, last = (beginning.ljust(_DIGEST_LETTERS, filler) for filler in "0f")
    return _select().where(EVENTS.c.event_id.between(first, last)).order_by(EVENTS.c.event_id)


def read_sighting(row: sa.Row[Any]) -> Sighting:
    """One row of either selection."""
    runner_up, behaviour, toward = None, None, None
    if row.behaviour is not None:
        behaviour = Action(name=row.behaviour, probability=row.behaviour_probability)
    if row.toward_track_id is not None:
        toward = Toward(track_id=row.toward_track_id, share=row.toward_share)
    if row.runner_up_subject_id is not None:
        runner_up = Candidate(subject_id=row.runner_up_subject_id, similarity=row.runner_up_similarity)
    clip = clip_of(row)
    event = Event(
        event_id=row.event_id,
        clip_id=row.clip_id,
        track_id=row.track_id,
        identity=Identity(
            subject_id=row.subject_id,
            decision=row.decision,
            reason=row.reason,
            similarity=row.similarity,
            runner_up=runner_up,
            threshold=row.threshold,
        ),
        action=Action(name=row.action, probability=row.probability),
        start_seconds=row.start_seconds,
        end_seconds=row.end_seconds,
        provenance=_provenance(row.provenance),
        behaviour=behaviour,
        toward=toward,
        pseudonym=row.pseudonym,
        camera_id=clip.camera_id,
        started_at=clip.moment(row.start_seconds),
        ended_at=clip.moment(row.end_seconds),
    )
    return Sighting(event, clip, row.analysis_id, video_of(row))


def clip_of(row: sa.Row[Any]) -> ClipRef:
    """The clip of a row that holds an analysis."""
    started_at = None if row.started_us is None else from_microseconds(row.started_us)
    return ClipRef(clip_id=row.clip_id, uri=row.clip_uri, started_at=started_at, camera_id=row.camera_id)


def video_of(row: sa.Row[Any]) -> Video | None:
    """The video of a row that holds an analysis."""
    return None if row.video is None else _video(row.video)


def _is_called(columns: Any, subject_id: str, pseudonyms: Sequence[str]) -> sa.ColumnElement[bool]:
    named: sa.ColumnElement[bool] = columns.subject_id == subject_id
    # Each half has an index of its own; without the second nothing changes for those who never were unknown.
    return sa.or_(named, columns.pseudonym.in_(pseudonyms)) if pseudonyms else named


def _select() -> sa.Select[Any]:
    of_analysis = ANALYSES.c
    shared = (of_analysis.analysis_id, of_analysis.clip_id, of_analysis.clip_uri, of_analysis.started_us)
    joined = EVENTS.c.analysis_no == of_analysis.analysis_no
    return sa.select(EVENTS, *shared, of_analysis.video, of_analysis.provenance).join_from(EVENTS, ANALYSES, joined)


# The events of an analysis share these, and come one after the other.
@lru_cache(maxsize=256)
def _provenance(document: str) -> Provenance:
    return Provenance.model_validate_json(document)


@lru_cache(maxsize=256)
def _video(document: str) -> Video:
    return Video.model_validate_json(document)
