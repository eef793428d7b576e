"""The archive: every analysis and its events. SQLite by default, PostgreSQL by url."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from services.archive.database import Database
from services.archive.moments import offset_of, start_of, to_microseconds
from services.archive.names import chunks_of, find_naming, replace_name
from services.archive.plans import explain
from services.archive.query import (
    EventQuery,
    Sighting,
    clip_of,
    read_sighting,
    select_by_id,
    select_sightings,
    video_of,
)
from services.archive.tables import ANALYSES, ARTEFACTS, EVENTS, TRACKS
from services.contracts.clip import ClipRef
from services.contracts.errors import BadInput
from services.contracts.events import Analysis, Event, Provenance, TrackReport
from services.contracts.tracks import EvidenceRef, Video

_ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class AnalysisRecord:
    """What is known of one analysis beside its events.

    Attributes:
        analysis_id: Digest of clip and provenance: the same clip and versions are one analysis.
        clip: With date and camera where they are known.
        evidence: Every place where its bundle was written.
        reports: Every folder a report was written to, absolute.
        video: What was decoded; None where an old archive did not keep it.
        provenance: Which models, gallery and evidence spoke.
        events: How many.
    """

    analysis_id: str
    clip: ClipRef
    evidence: tuple[EvidenceRef, ...]
    reports: tuple[Path, ...]
    video: Video | None
    provenance: Provenance
    events: int


class Archive:
    """Analyses and events by id. Recording the same analysis again changes nothing.

    What `record` has returned from outlives a killed process, and power cuts as far as the disk is honest.

    Args:
        location: Path of a SQLite file (made at the first record), or a SQLAlchemy url.
    """

    def __init__(self, location: str | Path) -> None:
        self._database = Database(location)

    def record(self, analysis: Analysis, *, report_folder: Path | None = None) -> int:
        """Store an analysis and its events in one transaction.

        Where it is known already, only what says when and where is taken over, so that a date or camera
        forgotten at first can be added, and a name erased since does not come back.

        Args:
            analysis: The answer.
            report_folder: Where its report is or will be. Record before it is written: then nothing lies
                anywhere that an erasure would not find.

        Returns:
            How many events were new; a retry of the same analysis gives 0.

        Raises:
            BadInput: The clip's date cannot be right.
        """
        start_of(analysis.clip)
        with self._database.writing() as connection:
            number, start_us, camera_id = self._enter(connection, analysis)
            _note(connection, number, "evidence", analysis.evidence.uri)
            if report_folder is not None:
                _note(connection, number, "report", str(report_folder.absolute()))
            _insert_new(connection, TRACKS, [_track_row(number, report) for report in analysis.tracks])
            rows = [_event_row(event, number, start_us, camera_id) for event in analysis.events]
            if rows:
                times = [row["at_us"] for row in rows]
                self._database.ensure_months(connection, min(times), max(times))
            before = _count_events(connection, number)
            _insert_new(connection, EVENTS, rows)
            return _count_events(connection, number) - before

    def find_events(self, query: EventQuery | None = None) -> Iterator[Sighting]:
        """Events that fit everything asked, by time; all of them when nothing is.

        Raises:
            BadInput: The file is not an archive.
        """
        if self._database.is_absent:
            return
        with self._database.reading() as connection:
            rows = connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(
                select_sightings(query or EventQuery())
            )
            for row in rows:
                yield read_sighting(row)

    def explain(self, query: EventQuery) -> list[str]:
        """How the database would answer a question: its plan, a step a line."""
        with self._database.reading() as connection:
            return explain(connection, select_sightings(query))

    def find_event(self, event_id: str) -> Sighting:
        """The event of an id, or of the only id that begins so.

        Raises:
            BadInput: There is none, or there are several; or it is no hexadecimal number.
        """
        if self._database.is_absent:
            raise BadInput(f"no event {event_id}: nothing was ever analysed here")
        with self._database.reading() as connection:
            found = connection.execute(select_by_id(event_id).limit(2)).all()
        if len(found) != 1:
            raise BadInput(
                f"{'several events begin' if found else 'no event begins'} with {event_id}: "
                "`whodid events --json` shows whole ids"
            )
        return read_sighting(found[0])

    def find_analyses(
        self,
        *,
        subject_id: str | None = None,
        analysis_id: str | None = None,
        clip_id: str | None = None,
        camera_id: str | None = None,
        kept_from_before: datetime | None = None,
    ) -> list[AnalysisRecord]:
        """Analyses that fit everything asked, oldest first.

        Args:
            subject_id: In which this name stands: as who it was, who came second, or why nobody was named.
            analysis_id: Its digest.
            clip_id: Of this clip.
            camera_id: Of this camera.
            kept_from_before: Whose clip ended before this moment; without a date, that came here before it.
        """
        if self._database.is_absent:
            return []
        equal = (
            (ANALYSES.c.analysis_id, analysis_id),
            (ANALYSES.c.clip_id, clip_id),
            (ANALYSES.c.camera_id, camera_id),
        )
        chosen = sa.select(ANALYSES).where(*(column == asked for column, asked in equal if asked is not None))
        if kept_from_before is not None:
            chosen = chosen.where(ANALYSES.c.kept_from_us < to_microseconds(kept_from_before))
        chosen = chosen.order_by(ANALYSES.c.analysis_no)
        with self._database.reading() as connection:
            parts = [chosen]
            if subject_id is not None:
                numbers = find_naming(connection, subject_id)
                parts = [chosen.where(ANALYSES.c.analysis_no.in_(chunk)) for chunk in chunks_of(numbers)]
            return [_read_analysis(connection, row) for part in parts for row in connection.execute(part).all()]

    def call_strangers(self, analysis_id: str, pseudonyms: Mapping[str, str]) -> None:
        """Write down what the unknown people of an analysis are called, by track; who has a pseudonym keeps it."""
        with self._database.writing() as connection:
            of_it = sa.select(ANALYSES.c.analysis_no).where(ANALYSES.c.analysis_id == analysis_id).scalar_subquery()
            for track_id, pseudonym in pseudonyms.items():
                for table in (TRACKS, EVENTS):
                    theirs = (table.c.analysis_no == of_it, table.c.track_id == track_id, table.c.pseudonym.is_(None))
                    connection.execute(table.update().where(*theirs).values(pseudonym=pseudonym))

    def find_pseudonyms(self, analysis_id: str) -> dict[str, str]:
        """Track id to pseudonym, of the unknown people of an analysis who have one."""
        if self._database.is_absent:
            return {}
        number = sa.select(ANALYSES.c.analysis_no).where(ANALYSES.c.analysis_id == analysis_id)
        chosen = sa.select(TRACKS.c.track_id, TRACKS.c.pseudonym).where(
            TRACKS.c.analysis_no.in_(number), TRACKS.c.pseudonym.is_not(None)
        )
        with self._database.reading() as connection:
            return {row.track_id: row.pseudonym for row in connection.execute(chosen)}

    def count_pseudonyms(self) -> dict[str, int]:
        """On how many tracks of all analyses each pseudonym stands."""
        if self._database.is_absent:
            return {}
        chosen = sa.select(TRACKS.c.pseudonym, sa.func.count()).where(TRACKS.c.pseudonym.is_not(None))
        with self._database.reading() as connection:
            return {row[0]: row[1] for row in connection.execute(chosen.group_by(TRACKS.c.pseudonym))}

    def find_recognised(self, subject_id: str) -> set[str]:
        """Ids of the analyses in which a track was recognised as this subject, whether or not it did anything."""
        if self._database.is_absent:
            return set()
        called = sa.or_(TRACKS.c.subject_id == subject_id, TRACKS.c.pseudonym == subject_id)
        of_theirs = sa.select(TRACKS.c.analysis_no).where(called)
        events = sa.select(EVENTS.c.analysis_no).where(EVENTS.c.subject_id == subject_id)  # archives of before tracks
        chosen = sa.select(ANALYSES.c.analysis_id).where(ANALYSES.c.analysis_no.in_(of_theirs.union(events)))
        with self._database.reading() as connection:
            return set(connection.scalars(chosen))

    def pseudonymise_subject(self, subject_id: str, pseudonym: str) -> int:
        """Replace a name wherever the archive holds it, also where it only came second or is in a reason.

        Everything else stays: what was done, where and when, by somebody. Asking again changes nothing. Reports
        and evidence lie outside the archive: `find_analyses(subject_id=...)` says where, before this.

        Returns:
            How many events named the subject.
        """
        if self._database.is_absent:
            return 0
        with self._database.writing() as connection:
            named = replace_name(connection, find_naming(connection, subject_id), subject_id, pseudonym)
        self._database.compact()
        return named

    def remove(self, analysis_ids: Sequence[str]) -> int:
        """Delete analyses with all their events.

        Returns:
            How many events were deleted.
        """
        if self._database.is_absent:
            return 0
        deleted = 0
        with self._database.writing() as connection:
            for chunk in chunks_of(analysis_ids):
                chosen = sa.select(ANALYSES.c.analysis_no).where(ANALYSES.c.analysis_id.in_(chunk))
                deleted += connection.execute(EVENTS.delete().where(EVENTS.c.analysis_no.in_(chosen))).rowcount
                connection.execute(ANALYSES.delete().where(ANALYSES.c.analysis_id.in_(chunk)))
        self._database.compact()
        return deleted

    def migrate(self) -> tuple[str | None, str]:
        """Bring the tables up to date; gives the version before (None: nothing was there) and now."""
        return self._database.migrate()

    def _enter(self, connection: sa.Connection, analysis: Analysis) -> tuple[int, int, str | None]:
        """The number of an analysis, its `at_us` at second 0 and its camera, as they are from now on."""
        row = _analysis_row(analysis)
        _insert_new(connection, ANALYSES, [row])
        # A writer of the same analysis waits here until this one is done.
        chosen = sa.select(ANALYSES).where(ANALYSES.c.analysis_id == row["analysis_id"])
        held = connection.execute(chosen.with_for_update()).one()
        earlier = clip_of(held)
        clip = analysis.clip.model_copy(
            update={
                "started_at": analysis.clip.started_at or earlier.started_at,
                "camera_id": analysis.clip.camera_id or earlier.camera_id,
            }
        )
        changed = _analysis_row(analysis.model_copy(update={"clip": clip}))
        if clip.started_at is None:
            changed["kept_from_us"] = held.kept_from_us  # a retry does not prolong it
        connection.execute(ANALYSES.update().where(ANALYSES.c.analysis_no == held.analysis_no).values(changed))
        shift_us = start_of(clip) - start_of(earlier)
        if shift_us or clip.camera_id != earlier.camera_id:
            self._move_events(connection, held.analysis_no, shift_us, clip.camera_id)
        return held.analysis_no, start_of(clip), clip.camera_id

    def _move_events(self, connection: sa.Connection, analysis_no: int, shift_us: int, camera_id: str | None) -> None:
        of_it = EVENTS.c.analysis_no == analysis_no
        times = sa.select(sa.func.min(EVENTS.c.at_us), sa.func.max(EVENTS.c.at_us)).where(of_it)
        first_us, last_us = connection.execute(times).one()
        if first_us is not None:
            self._database.ensure_months(connection, first_us + shift_us, last_us + shift_us)
        connection.execute(EVENTS.update().where(of_it).values(at_us=EVENTS.c.at_us + shift_us, camera_id=camera_id))


def identify_analysis(clip_id: str, provenance: Provenance) -> str:
    """The id of an analysis: the same clip, models, gallery and evidence always give the same."""
    said = {"clip_id": clip_id, "provenance": provenance.model_dump(mode="json")}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _analysis_row(analysis: Analysis) -> dict[str, Any]:
    clip = analysis.clip
    start_us = start_of(clip)
    ended_us = start_us + offset_of(analysis.video.end_seconds)
    return {
        "analysis_id": identify_analysis(clip.clip_id, analysis.provenance),
        "clip_id": clip.clip_id,
        "clip_uri": clip.uri,
        "camera_id": clip.camera_id,
        "started_us": None if clip.started_at is None else start_us,
        "kept_from_us": time.time_ns() // 1000 if clip.started_at is None else ended_us,
        "video": analysis.video.to_json().decode(),
        "provenance": analysis.provenance.to_json().decode(),
    }


def _track_row(analysis_no: int, report: TrackReport) -> dict[str, Any]:
    runner_up = report.identity.runner_up
    return {
        "analysis_no": analysis_no,
        "track_id": report.track.track_id,
        "subject_id": report.identity.subject_id,
        "runner_up_subject_id": runner_up.subject_id if runner_up else None,
        "reason": report.identity.reason,
        "start_seconds": report.track.start_seconds,
        "end_seconds": report.track.end_seconds,
    }


def _event_row(event: Event, analysis_no: int, start_us: int, camera_id: str | None) -> dict[str, Any]:
    identity = event.identity
    runner_up = identity.runner_up
    return {
        "event_id": event.event_id,
        "at_us": start_us + offset_of(event.start_seconds),
        "analysis_no": analysis_no,
        "camera_id": camera_id,
        "track_id": event.track_id,
        "subject_id": identity.subject_id,
        "decision": identity.decision,
        "reason": identity.reason,
        "similarity": identity.similarity,
        "runner_up_subject_id": runner_up.subject_id if runner_up else None,
        "runner_up_similarity": runner_up.similarity if runner_up else None,
        "threshold": identity.threshold,
        "action": event.action.name,
        "probability": event.action.probability,
        "start_seconds": event.start_seconds,
        "end_seconds": event.end_seconds,
        "behaviour": event.behaviour.name if event.behaviour else None,
        "behaviour_probability": event.behaviour.probability if event.behaviour else None,
        "toward_track_id": event.toward.track_id if event.toward else None,
        "toward_share": event.toward.share if event.toward else None,
    }


def _insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows whose key is not there yet; both databases spell it alike, SQLAlchemy does not."""
    if not rows:
        return
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(insert(table).on_conflict_do_nothing(), rows)


def _note(connection: sa.Connection, analysis_no: int, kind: str, uri: str) -> None:
    _insert_new(connection, ARTEFACTS, [{"analysis_no": analysis_no, "kind": kind, "uri": uri}])


def _count_events(connection: sa.Connection, analysis_no: int) -> int:
    count = sa.select(sa.func.count()).select_from(EVENTS).where(EVENTS.c.analysis_no == analysis_no)
    return connection.execute(count).scalar_one()


def _read_analysis(connection: sa.Connection, row: sa.Row[Any]) -> AnalysisRecord:
    noted = sa.select(ARTEFACTS.c.kind, ARTEFACTS.c.uri).where(ARTEFACTS.c.analysis_no == row.analysis_no)
    found = connection.execute(noted.order_by(ARTEFACTS.c.uri)).all()
    provenance = Provenance.model_validate_json(row.provenance)
    return AnalysisRecord(
        analysis_id=row.analysis_id,
        clip=clip_of(row),
        evidence=tuple(
            EvidenceRef(uri=uri, sha256=provenance.evidence_sha256) for kind, uri in found if kind == "evidence"
        ),
        reports=tuple(Path(uri) for kind, uri in found if kind == "report"),
        video=video_of(row),
        provenance=provenance,
        events=_count_events(connection, row.analysis_no),
    )
