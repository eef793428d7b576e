"""Archive: how long a search takes among a million events, and by which index the database finds them."""

import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from services.archive.database import Database
from services.archive.moments import to_microseconds
from services.archive.query import EventQuery
from services.archive.store import Archive
from services.archive.tables import ANALYSES, EVENTS, TRACKS
from services.contracts.clip import ModelRef
from services.contracts.events import Provenance
from services.contracts.identity import GalleryRef
from services.contracts.tracks import Video
from training.bench.table import Bar, BenchTable, Cell

EVENTS_AN_ANALYSIS = 100
_ANALYSES_A_TRANSACTION = 100
_MOST_MS = 50.0
_PAGE = 50
_SUBJECTS, _CAMERAS, _DAYS = 200, 100, 90
_UNNAMED_SHARE = 0.6
_ACTIONS = ("stand", "walk", "run", "wave", "crouch", "sit", "bend", "point", "carry", "fall")
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
_SEED = 5
_CLIP_SECONDS = 600.0


def measure_archive(
    folder: Path, events: int, runs: int, *, on_progress: Callable[[str, float, float], None]
) -> BenchTable:
    """Fill an archive and put questions to it.

    Args:
        folder: Where the archive is made; the caller removes it.
        events: How many it holds.
        runs: Times each question is put, about somebody, somewhere and some time else each time.
        on_progress: Told "archive", events written and events in all.
    """
    path = folder / "archive.db"
    started = time.perf_counter()
    clips = fill(path, events, on_progress)
    filled_seconds = time.perf_counter() - started
    archive = Archive(path)
    rows: list[tuple[Cell, ...]] = []
    bars = []
    plans = []
    for question in _questions(clips):
        dice = np.random.default_rng(_SEED)
        spent_ms, found = [], []
        for _ in range(runs):
            query = question.ask(dice)
            begun = time.perf_counter()
            found.append(len(list(archive.find_events(query))))
            spent_ms.append((time.perf_counter() - begun) * 1000)
        p50, p95 = np.percentile(spent_ms, [50, 95]).tolist()
        rows.append((question.name, p50, p95, max(spent_ms), float(np.mean(found))))
        plans.append(f"{question.name}: {'; '.join(archive.explain(question.ask(dice)))}")
        if question.barred:
            bars.append(Bar(f"{question.name}, p95 ms", p95, f"< {_MOST_MS:g}", p95 < _MOST_MS))
    size_mib = path.stat().st_size / 2**20
    return BenchTable(
        name="archive",
        title=f"archive: search among {events:,} events",
        protocol=(
            f"SQLite, written in {filled_seconds:.0f} s straight into the tables: {_SUBJECTS} subjects, some seen far "
            f"more often than others, {_UNNAMED_SHARE:.0%} of events unnamed, {_CAMERAS} cameras, {_DAYS} days, "
            f"{len(_ACTIONS)} actions. Each question {runs} times, seed {_SEED}, a new connection each time, up to "
            f"{_PAGE} events read and made into messages; the file's pages are in the system's cache."
        ),
        columns=("question", "p50 ms", "p95 ms", "worst ms", "mean answers"),
        rows=tuple(rows),
        bars=tuple(bars),
        remarks=(f"{size_mib:.0f} MiB on disk, {path.stat().st_size / events:.0f} bytes an event", *plans),
    )


@dataclass(frozen=True, slots=True)
class _Question:
    """A kind of search, and whether the bar is set for it."""

    name: str
    ask: Callable[[np.random.Generator], EventQuery]
    barred: bool = False


def _questions(clips: list[str]) -> Iterator[_Question]:
    def day(dice: np.random.Generator, days: float = 1.0) -> dict[str, Any]:
        begin = _FIRST + timedelta(days=float(dice.uniform(0, _DAYS - days)))
        return {"from_time": begin, "to_time": begin + timedelta(days=days), "limit": _PAGE}

    def who(dice: np.random.Generator) -> str:
        return _subject(int(dice.integers(_SUBJECTS)))

    def camera(dice: np.random.Generator) -> str:
        return f"camera-{dice.integers(_CAMERAS):03d}"

    def did(dice: np.random.Generator) -> str:
        return str(dice.choice(_ACTIONS))

    yield _Question("who, a day", lambda d: EventQuery(subject_id=who(d), **day(d)), barred=True)
    yield _Question("who, all along", lambda d: EventQuery(subject_id=who(d), limit=_PAGE))
    yield _Question("who did what, a week", lambda d: EventQuery(subject_id=who(d), action=did(d), **day(d, 7)))
    yield _Question(
        "who with whom, a month", lambda d: EventQuery(subject_id=who(d), with_subject_id=who(d), **day(d, 30))
    )
    yield _Question("what, where, a day", lambda d: EventQuery(action=did(d), camera_id=camera(d), **day(d)))
    yield _Question("where, a day", lambda d: EventQuery(camera_id=camera(d), **day(d)))
    yield _Question("a day", lambda d: EventQuery(**day(d)))
    yield _Question("unknown people, where, a day", lambda d: EventQuery(unknown=True, camera_id=camera(d), **day(d)))
    yield _Question("a clip", lambda d: EventQuery(clip_id=str(d.choice(clips)), limit=_PAGE))


def fill(path: Path, events: int, on_progress: Callable[[str, float, float], None]) -> list[str]:
    """Write made-up analyses into a new archive.

    Returns:
        The clip_ids.
    """
    database = Database(path)
    database.migrate()
    dice = np.random.default_rng(_SEED)
    # Some people are seen every day, most now and then: Zipf's law, as for words.
    weights = 1 / np.arange(1, _SUBJECTS + 1)
    clips: list[str] = []
    numbers = range(-(-events // EVENTS_AN_ANALYSIS))
    for start in range(0, len(numbers), _ANALYSES_A_TRANSACTION):
        analyses = [_analysis_row(number, dice) for number in numbers[start : start + _ANALYSES_A_TRANSACTION]]
        tracks: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for analysis in analyses:
            people = dice.choice(_SUBJECTS, size=20, p=weights / weights.sum())
            names = [None if dice.random() < _UNNAMED_SHARE else _subject(int(person)) for person in people]
            of_it = _tracks_of(analysis, names)
            tracks += of_it
            rows += _events_of(analysis, of_it, dice)
        with database.writing() as connection:
            for table, new in ((ANALYSES, analyses), (TRACKS, tracks), (EVENTS, rows)):
                connection.execute(table.insert(), new)
        clips += [analysis["clip_id"] for analysis in analyses]
        on_progress("archive", min(len(clips) * EVENTS_AN_ANALYSIS, events), events)
    return clips


def _analysis_row(number: int, dice: np.random.Generator) -> dict[str, Any]:
    model = ModelRef(name="made-up", version="1", sha256=_digest("model"))
    gallery = GalleryRef(sha256=_digest("gallery"), embedding_space="made-up", subjects=_SUBJECTS)
    provenance = Provenance(
        evidence_sha256=_digest("evidence", number),
        tracks=(model,),
        identity=(model,),
        action=(model,),
        gallery=gallery,
    )
    video = Video(width_px=1280, height_px=720, start_seconds=0, end_seconds=_CLIP_SECONDS, frames=6000, codec="h264")
    started_us = to_microseconds(_FIRST + timedelta(days=float(dice.uniform(0, _DAYS))))
    return {
        "analysis_no": number + 1,
        "analysis_id": _digest("analysis", number),
        "clip_id": _digest("clip", number),
        "clip_uri": f"file:///clips/{number:08d}.mp4",
        "camera_id": f"camera-{dice.integers(_CAMERAS):03d}",
        "started_us": started_us,
        "kept_from_us": started_us + round(_CLIP_SECONDS * 1e6),
        "video": video.to_json().decode(),
        "provenance": provenance.to_json().decode(),
    }


def _tracks_of(analysis: dict[str, Any], names: list[str | None]) -> list[dict[str, Any]]:
    return [
        {
            "analysis_no": analysis["analysis_no"],
            "track_id": f"t{index}",
            "subject_id": name,
            "runner_up_subject_id": _subject(0),
            "reason": None,
            "start_seconds": 30.0 * index,
            "end_seconds": 30.0 * index + 45,
        }
        for index, name in enumerate(names)
    ]


def _events_of(
    analysis: dict[str, Any], tracks: list[dict[str, Any]], dice: np.random.Generator
) -> list[dict[str, Any]]:
    number = analysis["analysis_no"]
    rows = []
    for index in range(EVENTS_AN_ANALYSIS):
        track = tracks[index % len(tracks)]
        start_seconds = round(track["start_seconds"] + float(dice.uniform(0, 40)), 2)
        rows.append(
            {
                "event_id": _digest("event", number, index),
                "at_us": analysis["started_us"] + round(start_seconds * 1e6),
                "analysis_no": number,
                "camera_id": analysis["camera_id"],
                "track_id": track["track_id"],
                "subject_id": track["subject_id"],
                "decision": "match" if track["subject_id"] else "unknown",
                "reason": None,
                "similarity": 0.95,
                "runner_up_subject_id": track["runner_up_subject_id"],
                "runner_up_similarity": 0.91,
                "threshold": 0.94,
                "action": _ACTIONS[int(dice.integers(len(_ACTIONS)))],
                "probability": 0.8,
                "start_seconds": start_seconds,
                "end_seconds": start_seconds + 4,
            }
        )
    return rows


def _subject(number: int) -> str:
    return f"subject-{number:05d}"


def _digest(*words: object) -> str:
    return hashlib.sha256(repr(words).encode()).hexdigest()
