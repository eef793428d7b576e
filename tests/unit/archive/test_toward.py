from pathlib import Path

import sqlalchemy as sa

from services.archive.query import EventQuery
from services.archive.store import Archive
from services.contracts.action import Toward
from tests.unit.archive.histories import analysis_of, named

YARD = analysis_of("yard", [(named("ada"), [("push", 1.0, 4.0)]), (named("bo"), [("fall", 3.0, 6.0)])])
TOWARD = Toward(track_id="t2", share=2 / 3)  # no short decimal: it must come back to the last bit
PUSHED = YARD.model_copy(update={"events": (YARD.events[0].model_copy(update={"toward": TOWARD}), YARD.events[1])})


def test_whom_it_was_done_to_comes_back(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.db")
    archive.record(PUSHED)
    assert [sighting.event for sighting in archive.find_events()] == list(PUSHED.events)


def test_whoever_is_forgotten_is_not_pointed_at_by_name(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.db")
    archive.record(PUSHED)
    archive.pseudonymise_subject("bo", "forgotten-1")
    push, fall = (sighting.event for sighting in archive.find_events())
    # The track that was pushed is still that of somebody; of whom, nothing here says any more.
    assert push.toward == TOWARD
    assert fall.identity.subject_id == "forgotten-1"
    assert list(archive.find_events(EventQuery(subject_id="bo"))) == []
    assert list(archive.find_events(EventQuery(with_subject_id="bo"))) == []
    assert b'"bo"' not in push.to_json() + fall.to_json()


def test_an_archive_of_the_version_before_keeps_its_events_and_takes_new_ones(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    Archive(path).record(YARD)
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        for column in ("toward_track_id", "toward_share"):
            connection.exec_driver_sql(f"ALTER TABLE events DROP COLUMN {column}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'pseudonyms'")
    archive = Archive(path)
    assert [sighting.event for sighting in archive.find_events()] == list(YARD.events)
    lane = analysis_of("lane", [(named("cy"), [("push", 0.0, 4.0)]), (named(None), [])])
    lane = lane.model_copy(update={"events": (lane.events[0].model_copy(update={"toward": TOWARD}),)})
    archive.record(lane)
    (found,) = archive.find_events(EventQuery(subject_id="cy"))
    assert found.event.toward == TOWARD
