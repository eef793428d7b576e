"""What a SQLite file that several processes share needs, whoever keeps what in it."""

import sqlite3
import time

import sqlalchemy as sa

from services.contracts.errors import BadInput, Busy, WhodidError

PATIENCE_SECONDS = 60.0
"""One writer at a time: another waits, for instance while a large gallery is issued anew."""
_PAUSE_SECONDS = 0.01
_RETRY_AFTER_SECONDS = 10


def use_write_ahead_log(connection: sqlite3.Connection, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Keep the file's journal as a write-ahead log: readers do not wait for the writer.

    The switch needs the file alone, and SQLite answers "locked" at once, whatever the connection's timeout, where two
    open a fresh file together (waiting could be a deadlock). The later one tries again.

    Raises:
        sqlite3.OperationalError: Somebody held the file longer than `patience_seconds`.

    Source: SQLite, "PRAGMA journal_mode" and "sqlite3_busy_handler".
    """
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
            return
        except sqlite3.OperationalError as error:
            if not _is_locked(error) or time.monotonic() > deadline:
                raise
            time.sleep(_PAUSE_SECONDS)


def name_fault(error: sa.exc.DatabaseError, location: str, kind: str) -> WhodidError:
    """What to tell a person of a database that did not answer.

    Args:
        error: What SQLAlchemy raised.
        location: Of the database, without a password.
        kind: What it should be, such as "archive".

    Returns:
        Busy where another process holds the file, BadInput otherwise.
    """
    if isinstance(error.orig, sqlite3.OperationalError) and _is_locked(error.orig):
        return Busy(f"{kind} {location} is held by another process", retry_after_seconds=_RETRY_AFTER_SECONDS)
    return BadInput(f"{location} is not a readable {kind}: {error.orig}")


def _is_locked(error: sqlite3.OperationalError) -> bool:
    # The low byte is the result, the others say where it was met.
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
