from pathlib import Path

import pytest

from services.archive.store import Archive
from services.contracts.errors import BadInput
from services.contracts.events import EventsRequest
from services.events.join import join_events
from tests.unit.events.test_join import actions, identities


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path / "archive.db")


def test_a_retry_never_doubles_an_event(archive: Archive) -> None:
    analysis = join_events(EventsRequest(identity=identities(), action=actions()))
    assert archive.record(analysis) == 3
    assert archive.record(analysis) == 0
    assert [event for _, event in archive.find_events()] == list(analysis.events)


def test_events_are_found_by_who_and_by_what(archive: Archive) -> None:
    archive.record(join_events(EventsRequest(identity=identities(), action=actions())))
    assert {event.action.name for _, event in archive.find_events(subject_id="ada")} == {"walk", "wave"}
    assert [event.identity.subject_id for _, event in archive.find_events(action="fall")] == [None]
    assert list(archive.find_events(subject_id="ada", action="fall")) == []


def test_an_archive_nobody_wrote_is_empty_and_is_not_made_by_looking(tmp_path: Path) -> None:
    assert list(Archive(tmp_path / "none.db").find_events()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be read as one" * 40)
    with pytest.raises(BadInput, match=r"notes\.txt is not a readable archive"):
        list(Archive(path).find_events())
