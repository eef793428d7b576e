import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.contracts.errors import BadInput, Busy
from services.sqlite import name_fault, use_write_ahead_log


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shared.db"


@pytest.fixture
def first(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process in the middle of making the file."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("CREATE TABLE things (name TEXT)")
        yield connection


def journal_mode(connection: sqlite3.Connection) -> str:
    return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def test_a_second_opener_of_a_fresh_file_waits_for_the_first(path: Path, first: sqlite3.Connection) -> None:
    releasing = threading.Timer(0.2, lambda: first.execute("COMMIT"))
    releasing.start()
    # The driver's own waiting is off: the answer "locked" comes at once, as it does in a race whatever the timeout.
    with closing(sqlite3.connect(path, timeout=0)) as second:
        use_write_ahead_log(second)
        assert journal_mode(second) == "wal"
        assert second.execute("SELECT count(*) FROM things").fetchone() == (0,)
    releasing.join()


def test_patience_ends(path: Path, first: sqlite3.Connection) -> None:
    began = time.monotonic()
    with closing(sqlite3.connect(path, timeout=0)) as second, pytest.raises(sqlite3.OperationalError, match="locked"):
        use_write_ahead_log(second, patience_seconds=0.1)
    assert 0.1 <= time.monotonic() - began < 5


def test_what_is_no_database_is_not_waited_for(path: Path) -> None:
    path.write_bytes(b"no database at all, though long enough to be asked" * 20)
    began = time.monotonic()
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.DatabaseError, match="not a database"):
        use_write_ahead_log(connection)
    assert time.monotonic() - began < 5


def test_a_locked_file_is_busy_and_not_unreadable(path: Path, first: sqlite3.Connection) -> None:
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 0})
    with pytest.raises(sa.exc.DatabaseError) as raised, engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE others (name TEXT)")
    engine.dispose()
    fault = name_fault(raised.value, str(path), "archive")
    assert isinstance(fault, Busy)
    assert str(path) in str(fault)
    assert "held by another process" in str(fault)


def test_another_fault_is_told_as_it_is(path: Path) -> None:
    path.write_bytes(b"no database at all, though long enough to be asked" * 20)
    engine = sa.create_engine(f"sqlite:///{path}")
    with pytest.raises(sa.exc.DatabaseError) as raised, engine.begin() as connection:
        connection.exec_driver_sql("SELECT 1 FROM sqlite_master")
    engine.dispose()
    fault = name_fault(raised.value, str(path), "gallery")
    assert isinstance(fault, BadInput)
    assert str(fault) == f"{path} is not a readable gallery: file is not a database"
