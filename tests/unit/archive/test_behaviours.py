from pathlib import Path

import sqlalchemy as sa

from services.archive.query import EventQuery
from services.archive.store import Archive
from services.contracts.action import Action
from tests.unit.archive.histories import analysis_of, named

YARD = analysis_of("yard", [(named("ada"), [("walk", 0.0, 4.0), ("run", 4.0, 6.0)])])
FIGHT = Action(name="fight", probability=0.75)
FOUGHT = YARD.model_copy(update={"events": (YARD.events[0], YARD.events[1].model_copy(update={"behaviour": FIGHT}))})


def test_what_an_action_was_part_of_comes_back_and_is_found(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.db")
    archive.record(FOUGHT)
    assert [sighting.event for sighting in archive.find_events()] == list(FOUGHT.events)
    (found,) = archive.find_events(EventQuery(behaviour="fight", subject_id="ada"))
    assert found.event == FOUGHT.events[1]


def test_an_archive_of_the_version_before_keeps_its_events(tmp_path: Path) -> None:
    path = tmp_path / "archive.db"
    Archive(path).record(YARD)
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        for index in ("events_behaved", "events_pseudonym", "tracks_pseudonym"):
            connection.exec_driver_sql(f"DROP INDEX {index}")
        connection.exec_driver_sql("ALTER TABLE tracks DROP COLUMN pseudonym")
        for column in ("behaviour", "behaviour_probability", "pseudonym", "toward_track_id", "toward_share"):
            connection.exec_driver_sql(f"ALTER TABLE events DROP COLUMN {column}")
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'analyses'")
    archive = Archive(path)
    assert [sighting.event for sighting in archive.find_events()] == list(YARD.events)
    archive.record(analysis_of("lane", [(named("bo"), [("walk", 0.0, 4.0)])]))
    assert list(archive.find_events(EventQuery(behaviour="fight"))) == []
