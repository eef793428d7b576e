"""The same history and the same questions: SQLite and PostgreSQL answer alike, byte for byte, and rightly."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.archive.query import EventQuery, Sighting
from services.archive.store import Archive, identify_analysis
from services.contracts.events import Analysis
from tests.unit.archive.histories import analysis_of, named

SUBJECTS = ("ada", "bo", "Zoë", "张伟", "o'neil")
ACTIONS = ("walk", "wave", "fall")
CAMERAS = (None, "gate", "yard")
# Months apart, and across a year's end: every date has another partition.
DAYS = (None, *(datetime(2025, 12, 31, 23, 59, 30, tzinfo=UTC) + timedelta(days=20 * n) for n in range(4)))


def make_history(dice: random.Random) -> list[Analysis]:
    history = []
    for number in range(60):
        people = []
        for _ in range(dice.randrange(4)):
            runner_up = dice.choice((None, *SUBJECTS))
            identity = named(dice.choice((None, *SUBJECTS)), runner_up=runner_up)
            starts = sorted(dice.uniform(0, 90) for _ in range(dice.randrange(4)))
            people.append(
                (identity, [(dice.choice(ACTIONS), start, start + dice.uniform(0.1, 30)) for start in starts])
            )
        clip = f"clip {dice.randrange(40)}"  # some are analysed again, with other answers
        history.append(
            analysis_of(
                clip,
                people,
                camera_id=dice.choice(CAMERAS),
                started_at=dice.choice(DAYS),
                gallery=f"state {number}",
            )
        )
    return history + dice.sample(history, 10)


def make_questions(dice: random.Random) -> Iterator[EventQuery]:
    yield EventQuery()
    for _ in range(150):
        unknown = dice.random() < 0.2
        between = sorted(dice.sample([day for day in DAYS if day], 2)) if dice.random() < 0.4 else (None, None)
        limit = dice.choice((None, 1, 7))
        yield EventQuery(
            subject_id=None if unknown else dice.choice((None, *SUBJECTS)),
            unknown=unknown,
            action=dice.choice((None, *ACTIONS)),
            camera_id=dice.choice((None, *CAMERAS)),
            from_time=between[0],
            to_time=between[1],
            with_subject_id=dice.choice((None, None, *SUBJECTS)),
            limit=limit,
            page=dice.choice((1, 2)) if limit else 1,
        )


def bytes_of(found: Iterator[Sighting]) -> list[bytes]:
    return [s.event.to_json() + s.clip.to_json() + s.analysis_id.encode() for s in found]


def fits(query: EventQuery, sighting: Sighting, tracks: dict[str, Analysis]) -> bool:
    """The question put again, slowly and in Python, with none of the SQL."""
    event = sighting.event
    others = [
        report.track
        for report in tracks[sighting.analysis_id].tracks
        if report.identity.subject_id == query.with_subject_id and report.track.track_id != event.track_id
    ]
    in_view = any(t.start_seconds < event.end_seconds and t.end_seconds > event.start_seconds for t in others)
    return (
        query.subject_id in (None, event.identity.subject_id)
        and (not query.unknown or event.identity.decision == "unknown")
        and query.action in (None, event.action.name)
        and query.camera_id in (None, sighting.clip.camera_id)
        and (query.from_time is None or (event.started_at is not None and event.started_at >= query.from_time))
        and (query.to_time is None or (event.started_at is not None and event.started_at < query.to_time))
        and (query.with_subject_id is None or in_view)
    )


@pytest.mark.parametrize("seed", range(3))
def test_both_databases_answer_alike_and_rightly(seed: int, tmp_path: Path, postgresql_url: str) -> None:
    dice = random.Random(seed)
    archives = [Archive(tmp_path / "archive.db"), Archive(postgresql_url)]
    history = make_history(dice)
    for analysis in history:
        first, second = (archive.record(analysis) for archive in archives)
        assert first == second
    erased, chosen = dice.choice(SUBJECTS), [r.analysis_id for r in archives[0].find_analyses()][::9]
    for archive in archives:
        archive.pseudonymise_subject(erased, "erased-1")
        archive.remove(chosen)
    everything = list(archives[0].find_events())
    tracks = {record.analysis_id: _analysis_of(record.analysis_id, history) for record in archives[0].find_analyses()}
    answered = 0
    for query in make_questions(dice):
        answers = [list(archive.find_events(query)) for archive in archives]
        assert bytes_of(iter(answers[0])) == bytes_of(iter(answers[1])), query
        expected = [s for s in everything if query.subject_id != erased and fits(query, s, tracks)]
        if query.with_subject_id == erased:
            expected = []
        if query.limit is not None:
            expected = expected[(query.page - 1) * query.limit :][: query.limit]
        assert answers[0] == expected, query
        answered += len(expected)
    assert answered > 200


def _analysis_of(analysis_id: str, history: list[Analysis]) -> Analysis:
    return next(a for a in history if identify_analysis(a.clip.clip_id, a.provenance) == analysis_id)
