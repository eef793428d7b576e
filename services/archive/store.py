"""The archive on disk: SQLite by default, any SQLAlchemy url otherwise."""

import os
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

from services.contracts.errors import BadInput
from services.contracts.events import Analysis, Event

_METADATA = sa.MetaData()
_EVENTS = sa.Table(
    "events",
    _METADATA,
    sa.Column("event_id", sa.String, primary_key=True),
    sa.Column("clip_id", sa.String, nullable=False, index=True),
    sa.Column("clip_uri", sa.String, nullable=False),
    sa.Column("subject_id", sa.String, index=True),
    sa.Column("action", sa.String, nullable=False, index=True),
    sa.Column("start_seconds", sa.Float, nullable=False),
    sa.Column("message", sa.LargeBinary, nullable=False),
)


class Archive:
    """Events by id. Recording the same analysis again changes nothing.

    Args:
        location: Path of a SQLite file (made at the first record), or a SQLAlchemy url.
    """

    def __init__(self, location: str | Path) -> None:
        self._path = None if "://" in str(location) else Path(location)
        self._location = str(location)
        self._engine = sa.create_engine(str(location) if self._path is None else f"sqlite:///{location}")

    def record(self, analysis: Analysis) -> int:
        """Store an analysis's events in one transaction.

        Returns:
            How many were new; a retry of the same analysis gives 0.
        """
        if self._path is not None and not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        _METADATA.create_all(self._engine)
        with self._engine.begin() as connection:
            ids = [event.event_id for event in analysis.events]
            known = set(connection.scalars(sa.select(_EVENTS.c.event_id).where(_EVENTS.c.event_id.in_(ids))))
            rows = [_row(event, analysis.clip.uri) for event in analysis.events if event.event_id not in known]
            if rows:
                connection.execute(_EVENTS.insert(), rows)
        return len(rows)

    def find_events(
        self, *, subject_id: str | None = None, action: str | None = None, clip_id: str | None = None
    ) -> Iterator[tuple[str, Event]]:
        """Events that fit everything asked, by clip and time, each with its clip's uri.

        Raises:
            BadInput: The file is not an archive.
        """
        if self._path is not None and not self._path.exists():
            return
        columns = _EVENTS.c
        query = sa.select(columns.clip_uri, columns.message).order_by(
            columns.clip_uri, columns.start_seconds, columns.event_id
        )
        for column, asked in ((columns.subject_id, subject_id), (columns.action, action), (columns.clip_id, clip_id)):
            if asked is not None:
                query = query.where(column == asked)
        try:
            with self._engine.connect() as connection:
                for clip_uri, message in connection.execution_options(yield_per=1000).execute(query):
                    yield clip_uri, Event.model_validate_json(message)
        except sa.exc.DatabaseError as error:
            raise BadInput(f"{self._location} is not a readable archive: {error.orig}") from error


def _row(event: Event, clip_uri: str) -> dict[str, object]:
    return {
        "event_id": event.event_id,
        "clip_id": event.clip_id,
        "clip_uri": clip_uri,
        "subject_id": event.identity.subject_id,
        "action": event.action.name,
        "start_seconds": event.start_seconds,
        "message": event.to_json(),
    }
