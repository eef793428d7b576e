"""Every search goes through the index that was made for it, whatever the archive's size."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.archive.query import EventQuery
from services.archive.store import Archive
from tests.unit.archive.histories import analysis_of, named

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BETWEEN = {"from_time": NOON, "to_time": NOON + timedelta(days=1)}
QUESTIONS = {
    "who": (EventQuery(subject_id="ada"), "events_who"),
    "who, when": (EventQuery(subject_id="ada", **BETWEEN, limit=50), "events_who"),
    "who, what, where, when": (EventQuery(subject_id="ada", action="wave", camera_id="c", **BETWEEN), "events_who"),
    "who, with whom": (EventQuery(subject_id="ada", with_subject_id="bo", **BETWEEN), "events_who"),
    "what, when": (EventQuery(action="wave", **BETWEEN), "events_did"),
    "part of what, when": (EventQuery(behaviour="fight", **BETWEEN), "events_behaved"),
    "what, where, when": (EventQuery(action="wave", camera_id="c", **BETWEEN), "events_where"),
    "where, when": (EventQuery(camera_id="c", **BETWEEN), "events_where"),
    "unknown people, when": (EventQuery(unknown=True, **BETWEEN), "events_unnamed"),
    "when": (EventQuery(**BETWEEN, limit=50), "events_when"),
    "a clip": (EventQuery(clip_id="a" * 64), "events_analysis"),
}


def fill(archive: Archive) -> Archive:
    for month in range(3):
        deeds = [("wave", float(second), second + 1.0) for second in range(50)]
        people = [(named(("ada", "bo", None)[month]), deeds)]
        started_at = NOON + timedelta(days=31 * month)
        archive.record(analysis_of(f"clip {month}", people, camera_id="c", started_at=started_at))
    return archive


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_search_reads_no_more_than_its_answer(tmp_path: Path, name: str) -> None:
    query, index = QUESTIONS[name]
    plan = fill(Archive(tmp_path / "archive.db")).explain(query)
    assert any(step.startswith(f"SEARCH events USING INDEX {index} ") for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan
    # Found in the order of the answer: a page of it costs a page.
    assert query.clip_id is not None or not any("TEMP B-TREE" in step for step in plan), plan


def test_together_with_looks_at_one_clip_at_a_time(tmp_path: Path) -> None:
    plan = fill(Archive(tmp_path / "archive.db")).explain(EventQuery(subject_id="ada", with_subject_id="bo"))
    assert any(step.startswith("SEARCH other USING INDEX") for step in plan), plan


def test_who_once_was_unknown_is_found_by_name_and_by_pseudonym_and_nothing_else_is_read(tmp_path: Path) -> None:
    query = EventQuery(subject_id="ada", pseudonyms=["unknown-0000000a"], **BETWEEN, limit=50)
    plan = fill(Archive(tmp_path / "archive.db")).explain(query)
    for index in ("events_who", "events_pseudonym"):
        assert any(f"SEARCH events USING INDEX {index} " in step for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan


def test_a_search_by_time_reads_the_months_asked_about(postgresql_url: str) -> None:
    archive = fill(Archive(postgresql_url))
    everything, one_day = (" ".join(archive.explain(query)) for query in (EventQuery(), EventQuery(**BETWEEN)))
    for partition in ("events_undated", "events_2026_03", "events_2026_04", "events_2026_05"):
        assert partition in everything
        assert (partition in one_day) == (partition == "events_2026_03")
