from pathlib import Path

from services.archive.store import Archive
from training.bench.archive import fill, measure_archive


def test_every_question_is_answered_and_its_plan_shown(tmp_path: Path) -> None:
    told: list[tuple[float, float]] = []
    table = measure_archive(tmp_path, 3000, 20, on_progress=lambda _, done, total: told.append((done, total)))
    assert told[-1] == (3000, 3000)
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert sum(float(row[-1]) for row in table.rows) > 50
    assert [bar.name for bar in table.bars] == ["who, a day, p95 ms"]
    assert sum("SEARCH events USING INDEX" in remark for remark in table.remarks) == len(table.rows)


def test_what_is_filled_in_reads_like_what_is_recorded(tmp_path: Path) -> None:
    clips = fill(tmp_path / "archive.db", 300, lambda *_: None)
    archive = Archive(tmp_path / "archive.db")
    events = [sighting.event for sighting in archive.find_events()]
    assert len(events) == 300
    assert {event.clip_id for event in events} == set(clips)
    assert 0.2 < sum(event.identity.subject_id is None for event in events) / 300 < 0.9
    assert all(event.started_at is not None for event in events)
