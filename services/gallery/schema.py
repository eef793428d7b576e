"""Tables of a gallery. Ids are random and say nothing; everything that says something about a person is sealed.

gallery_state   format, active embedding space, revision (grows with every change)
secrets         the gallery's own keys (name index, rotation), sealed by a master key
subjects        one key each, sealed by a master key; the name, sealed by that key
faces, vectors  what was kept of a picture, and where it lies in one embedding space, sealed by the subject's key
edits           what was done, in order, sealed likewise; the present state is the fold of them
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.sqlite import PATIENCE_SECONDS, use_write_ahead_log

FORMAT = "2"

METADATA = sa.MetaData()
STATE = sa.Table(
    "gallery_state",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)
SECRETS = sa.Table(
    "secrets",
    METADATA,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)
SUBJECTS = sa.Table(
    "subjects",
    METADATA,
    sa.Column("person_id", sa.String, primary_key=True),
    sa.Column("key_id", sa.String, nullable=False, index=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.Column("name_index", sa.String, nullable=False, unique=True),
    sa.Column("name", sa.LargeBinary, nullable=False),
)
FACES = sa.Table(
    "faces",
    METADATA,
    sa.Column("face_id", sa.String, primary_key=True),
    sa.Column("person_id", sa.String, nullable=False, index=True),
    sa.Column("facts", sa.LargeBinary, nullable=False),
    sa.Column("chip", sa.LargeBinary, nullable=False),
)
VECTORS = sa.Table(
    "vectors",
    METADATA,
    sa.Column("face_id", sa.String, primary_key=True),
    sa.Column("space", sa.String, primary_key=True),
    sa.Column("rotation_id", sa.String, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False),
)
EDITS = sa.Table(
    "edits",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("person_id", sa.String, nullable=False, index=True),
    sa.Column("other_person_id", sa.String, nullable=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)


def open_engine(url: str) -> sa.Engine:
    """An engine for a gallery; SQLite's is told to keep nothing that was deleted."""
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        engine = sa.create_engine(url, connect_args={"timeout": PATIENCE_SECONDS})
        sa.event.listen(engine, "connect", _configure_sqlite)
        sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def create_tables(connection: Connection) -> None:
    """Make what is not there yet."""
    METADATA.create_all(connection)
    if read_state(connection, "format") is None:
        connection.execute(STATE.insert(), [{"name": "format", "value": FORMAT}, {"name": "revision", "value": "0"}])


def read_state(connection: Connection, name: str) -> str | None:
    """One line of the gallery's state."""
    value: str | None = connection.execute(sa.select(STATE.c.value).where(STATE.c.name == name)).scalar()
    return value


def write_state(connection: Connection, name: str, value: str | None) -> None:
    """Change one line; None takes it away."""
    connection.execute(STATE.delete().where(STATE.c.name == name))
    if value is not None:
        connection.execute(STATE.insert().values(name=name, value=value))


def flush_log(engine: sa.Engine) -> bool:
    """Empty SQLite's write-ahead log, which held what was deleted, too.

    Returns:
        Whether it is empty; somebody who is reading prevents it.
    """
    rows = _outside_transactions(engine, "PRAGMA wal_checkpoint(TRUNCATE)")
    return not rows or rows[0][0] == 0


def rewrite(engine: sa.Engine) -> None:
    """Write SQLite's file anew, without the pages nobody uses any more."""
    _outside_transactions(engine, "VACUUM")


def _outside_transactions(engine: sa.Engine, command: str) -> list[tuple[int, ...]]:
    if engine.dialect.name != "sqlite":
        return []
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute(command)
        rows: list[tuple[int, ...]] = list(cursor.fetchall())
        cursor.close()
    finally:
        connection.close()
    return rows


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver begins a transaction only at the first change; a reader needs one, too, to see one moment.
    connection.isolation_level = None
    use_write_ahead_log(connection)
    connection.execute("PRAGMA secure_delete=ON").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
