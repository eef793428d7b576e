import re
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from services.archive.database import NEWEST, Database
from services.archive.query import EventQuery
from services.archive.store import Archive
from services.archive.tables import METADATA
from services.contracts.errors import BadInput
from tests.unit.archive.histories import analysis_of, named
from tests.unit.archive.postgres import Cluster

YARD = analysis_of("yard", [(named("ada", runner_up="bo"), [("walk", 0.0, 4.0)]), (named(None), [("fall", 2.0, 5.0)])])


def write_first_version(path: Path) -> None:
    """An archive as it was before it had versions."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE events (event_id VARCHAR NOT NULL PRIMARY KEY, clip_id VARCHAR NOT NULL, clip_uri "
                "VARCHAR NOT NULL, subject_id VARCHAR, action VARCHAR NOT NULL, start_seconds FLOAT NOT NULL, "
                "message BLOB NOT NULL)"
            )
        )
        for event in YARD.events:
            connection.execute(
                sa.text("INSERT INTO events VALUES (:event_id, :clip_id, :uri, :who, :did, :start, :message)"),
                {
                    "event_id": event.event_id,
                    "clip_id": event.clip_id,
                    "uri": YARD.clip.uri,
                    "who": event.identity.subject_id,
                    "did": event.action.name,
                    "start": event.start_seconds,
                    "message": event.to_json(),
                },
            )
    engine.dispose()


def test_an_archive_of_the_first_version_keeps_every_event(tmp_path: Path) -> None:
    write_first_version(tmp_path / "archive.db")
    archive = Archive(tmp_path / "archive.db")
    assert [sighting.event for sighting in archive.find_events()] == list(YARD.events)
    assert [s.event for s in archive.find_events(EventQuery(action="fall", with_subject_id="ada"))] == [YARD.events[1]]
    # It is the same analysis as one made today: what the old archive did not keep is added, nothing is doubled.
    assert archive.record(YARD) == 0
    (record,) = archive.find_analyses(subject_id="bo")
    assert (record.video, record.evidence) == (YARD.video, (YARD.evidence,))


def test_postgresql_waits_for_an_operator_and_says_so(cluster: Cluster) -> None:
    archive = Archive(cluster.create("unmade"))
    with pytest.raises(BadInput, match="whodid archive migrate"):
        archive.record(YARD)
    assert archive.migrate() == (None, NEWEST)
    assert archive.migrate() == (NEWEST, NEWEST)
    assert archive.record(YARD) == 2


def test_an_archive_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive.db")
    archive.record(YARD)
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'archive.db'}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'of-tomorrow'"))
    with pytest.raises(BadInput, match=r"of-tomorrow.*newer"):
        list(Archive(tmp_path / "archive.db").find_events())


def test_the_newest_version_is_the_last_one() -> None:
    config = Config()
    config.set_main_option("script_location", "services.archive:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == NEWEST


def test_migrated_tables_are_the_ones_the_code_declares(location: str) -> None:
    database = Database(location)
    database.migrate()
    with database.reading() as connection:
        # Partitions are the tables' own business.
        opts = {"include_object": lambda _, name, kind, *__: kind != "table" or name in METADATA.tables}
        differences = compare_metadata(MigrationContext.configure(connection, opts=opts), METADATA)
        assert [difference for difference in differences if "comment" not in str(difference)] == []
        if not database.is_sqlite:
            return
        written = dict(connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'index'")).all())
    for table in METADATA.tables.values():
        for index in table.indexes:
            condition = index.dialect_options["sqlite"]["where"]
            if condition is not None:
                assert re.sub(r"\w+\.", "", str(condition)) in written[index.name]
