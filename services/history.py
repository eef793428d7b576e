"""Asking the archive: times as operators write them, answers as files, and what is too old, gone."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import fsspec

from services.archive.query import Sighting
from services.archive.store import AnalysisRecord, Archive
from services.contracts.errors import BadInput, BadUsage
from services.contracts.tracks import EvidenceRef
from services.gallery.store import Gallery
from services.gallery.strangers import erase_sources
from services.perception.evidence import Evidence, open_evidence
from services.reports.exports import ava_rows, number_tracks, vtt_cues
from services.reports.paths import path_of
from services.reports.people import UNRECOGNISED_NAMES
from services.reports.report import remove_report

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_LONGEST_KEPT = timedelta(days=14_000)
CSV_COLUMNS = (
    "event_id", "started_at", "ended_at", "camera_id", "clip", "clip_id", "track_id", "subject_id", "decision",
    "similarity", "threshold", "action", "probability", "behaviour", "start_seconds",
    "end_seconds", "toward_track_id",
)  # fmt: skip


def parse_moment(text: str) -> datetime:
    """A moment as ISO 8601 writes it; without an offset in this machine's time zone.

    Raises:
        BadUsage: It is none.
    """
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        raise BadUsage(f"{text!r} is no moment: write it as 2026-03-01T10:02:13+01:00") from error


def parse_age(text: str) -> timedelta:
    """An age as a number of hours, days or weeks: 12h, 30d, 8w.

    Raises:
        BadUsage: It is none.
    """
    match = re.fullmatch(r"(\d{1,6})([hdw])", text)
    if match is None:
        raise BadUsage(f"{text!r} is no age: write it as 12h, 30d or 8w")
    age = int(match[1]) * _UNITS[match[2]]
    if age > _LONGEST_KEPT:
        raise BadUsage(f"{text}: nothing here is as old; write an age below {_LONGEST_KEPT.days}d")
    return age


def write_jsonl(found: Iterable[Sighting], _archive: Archive) -> Iterator[str]:
    """One Event a line."""
    for sighting in found:
        yield sighting.event.to_json().decode() + "\n"


def write_csv(found: Iterable[Sighting], _archive: Archive) -> Iterator[str]:
    """One event a row, below a header. Source: RFC 4180, but for line ends."""
    yield ",".join(CSV_COLUMNS) + "\n"
    for sighting in found:
        event, identity = sighting.event, sighting.event.identity
        cells = {
            "clip": clip_name_of(sighting),
            "subject_id": identity.subject_id,
            "decision": identity.decision,
            "similarity": identity.similarity,
            "threshold": identity.threshold,
            "action": event.action.name,
            "probability": event.action.probability,
            "behaviour": event.behaviour and event.behaviour.name,
            "toward_track_id": event.toward and event.toward.track_id,
            "started_at": event.started_at and event.started_at.isoformat(),
            "ended_at": event.ended_at and event.ended_at.isoformat(),
        }
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(
            [cells[name] if name in cells else getattr(event, name) for name in CSV_COLUMNS]
        )
        yield text.getvalue()


def write_ava(found: Iterable[Sighting], archive: Archive) -> Iterator[str]:
    """AVA rows, clip by clip, with boxes from the evidence.

    Raises:
        BadInput: The evidence of a clip is no longer there, or was recorded by a version that kept too little.
    """
    by_analysis = sorted(found, key=lambda sighting: sighting.analysis_id)
    for analysis_id, sightings in groupby(by_analysis, key=lambda sighting: sighting.analysis_id):
        (record,) = archive.find_analyses(analysis_id=analysis_id)
        if record.video is None:
            raise BadInput(f"{record.clip.uri} was analysed by an early version: analyse it again to export boxes")
        events = [sighting.event for sighting in sightings]
        with open_any_evidence(record) as evidence:
            track_ids = evidence.track_ids()
            paths = {event.track_id: path_of(evidence.track(event.track_id)) for event in events}
        yield ava_rows(events, record.video, number_tracks(track_ids), paths, PurePosixPath(_path(record)).stem)


def write_webvtt(found: Iterable[Sighting], _archive: Archive) -> Iterator[str]:
    """Subtitles of one clip.

    Raises:
        BadUsage: The events are of several clips.
    """
    sightings = list(found)
    clips = {sighting.clip.clip_id for sighting in sightings}
    if len(clips) > 1:
        raise BadUsage(f"subtitles are of one clip, these events of {len(clips)}: choose one with --clip")
    names = UNRECOGNISED_NAMES
    yield vtt_cues(
        (sighting.event for sighting in sightings),
        lambda event: event.identity.subject_id or f"{names[event.identity.decision]} {event.track_id}",
    )


FORMATS: dict[str, Callable[[Iterable[Sighting], Archive], Iterator[str]]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "ava": write_ava,
    "webvtt": write_webvtt,
}


def open_any_evidence(record: AnalysisRecord) -> Evidence:
    """The evidence of an analysis, from the first place that still holds it.

    Raises:
        BadInput: None does.
    """
    fault = f"{record.clip.uri}: no evidence was recorded; analyse the clip again"
    for reference in record.evidence:
        try:
            return open_evidence(reference.uri, reference.sha256)
        except BadInput as error:
            fault = str(error)
    raise BadInput(fault)


def clip_name_of(sighting: Sighting) -> str:
    """The clip's file name."""
    return PurePosixPath(unquote(urlsplit(sighting.clip.uri).path)).name


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge took away, or would take."""

    analyses: int
    events: int
    bundles: int
    reports: int


def purge(
    archive: Archive, *, camera_id: str, older_than: timedelta, strangers: Gallery, dry_run: bool = False
) -> Purged:
    """Delete everything derived from a camera's clips that ended so long ago: events, evidence, reports.

    A clip without a date counts from when its analysis came here. Files go first and rows last: interrupted, the
    next purge finds what is left. The clips themselves are not ours to delete.

    Args:
        archive: Where the analyses are.
        camera_id: Of this camera alone.
        older_than: How long they may be kept.
        strangers: Where unknown people are remembered: faces from clips of which nothing stays go with them.
        dry_run: Only count.
    """
    chosen = archive.find_analyses(camera_id=camera_id, kept_from_before=datetime.now(UTC) - older_than)
    ids = {record.analysis_id for record in chosen}
    bundles = {evidence for record in chosen for evidence in record.evidence}
    for clip_id in {record.clip.clip_id for record in chosen}:
        # Another analysis of the clip that stays, of other models or another gallery, may read the same bundle.
        for other in archive.find_analyses(clip_id=clip_id):
            if other.analysis_id not in ids:
                bundles.difference_update(other.evidence)
    reports = [(folder, record.clip.clip_id) for record in chosen for folder in record.reports]
    if dry_run:
        events = sum(record.events for record in chosen)
        return Purged(len(chosen), events, len(bundles), sum(folder.is_dir() for folder, _ in reports))
    removed_reports = sum(remove_report(folder, clip_id) for folder, clip_id in reports)
    removed_bundles = sum(_remove_bundle(evidence) for evidence in bundles)
    going = {record.clip.clip_id for record in chosen}
    staying = {
        other.clip.clip_id
        for each in going
        for other in archive.find_analyses(clip_id=each)
        if other.analysis_id not in ids
    }
    erase_sources(strangers, going - staying)
    return Purged(len(chosen), archive.remove(sorted(ids)), removed_bundles, removed_reports)


def _remove_bundle(evidence: EvidenceRef) -> bool:
    filesystem, path = fsspec.core.url_to_fs(evidence.uri)
    if not filesystem.exists(path):
        return False
    filesystem.rm_file(path)
    return True


def _path(record: AnalysisRecord) -> str:
    return unquote(urlsplit(record.clip.uri).path)
