"""The archive's database: connecting, transactions, and bringing old tables up to date."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.archive.moments import EARLIEST_US, from_microseconds, to_microseconds
from services.contracts.errors import BadInput, BadUsage
from services.sqlite import PATIENCE_SECONDS, name_fault, use_write_ahead_log

NEWEST = "toward"
"""The version of the tables that this code reads and writes; the last of services.archive.migrations."""
EARLIER = ("first", "analyses", "behaviours", "pseudonyms")
_WRITING = {"whodid_begin": "BEGIN IMMEDIATE"}


class Database:
    """A SQLite file (made at the first write), or whatever a SQLAlchemy url names.

    SQLite is brought up to date whenever it is opened; a shared PostgreSQL when an operator says so (`migrate`).

    Attributes:
        location: As it was given, without a password: what errors call it.
    """

    def __init__(self, location: str | Path) -> None:
        self._path = None if "://" in str(location) else Path(location)
        url = sa.make_url(str(location) if self._path is None else f"sqlite:///{location}")
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        self.location = str(location) if self._path is not None else url.render_as_string(hide_password=True)
        try:
            self._engine = sa.create_engine(url, **_options(url))
        except ModuleNotFoundError as error:
            raise BadUsage(f"{self.location}: no driver {error.name}; install whodid[postgresql]") from error
        if self.is_sqlite:
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)
        self._ready = False

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file of one machine."""
        return self._engine.dialect.name == "sqlite"

    @property
    def is_absent(self) -> bool:
        """Whether nobody ever wrote to it; looking makes no file."""
        return self._path is not None and not self._path.exists()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """One consistent view.

        Raises:
            BadInput: It is no archive, is unreachable, or waits for `migrate`.
            Busy: Another process holds the file for longer than anybody should.
        """
        with self._naming_faults():
            self._prepare()
            with self._engine.begin() as connection:
                yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction: all of it is on disk when the block ends, or none of it.

        Raises:
            BadInput: It is no archive, is unreachable, or waits for `migrate`.
            Busy: Another process holds the file for longer than anybody should.
        """
        if self.is_absent:
            self._make_file()
        with self._naming_faults():
            self._prepare()
            with self._engine.execution_options(**_WRITING).begin() as connection:
                yield connection

    def migrate(self) -> tuple[str | None, str]:
        """Bring the tables up to date.

        Returns:
            The version before (None: there was nothing) and now.
        """
        if self.is_absent:
            self._make_file()
        with self._naming_faults(), self._engine.execution_options(**_WRITING).begin() as connection:
            before = _version(connection)
            if before != NEWEST:
                _upgrade(connection)
        return before, NEWEST

    def compact(self) -> None:
        """Give freed pages back to the disk; nothing deleted stays readable in them.

        Rows are overwritten as they are deleted (SQLite's secure_delete); this empties the log that held them, too,
        and rewrites the file. In PostgreSQL it is VACUUM: pages are reused, old row versions gone.
        """
        alone = {"whodid_begin": None} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        with self._naming_faults(), self._engine.execution_options(**alone).connect() as connection:
            connection.exec_driver_sql("VACUUM")
            if self.is_sqlite:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def ensure_months(self, connection: sa.Connection, first_us: int, last_us: int) -> None:
        """See to it that rows from `first_us` to `last_us` have a partition to go to; only PostgreSQL has any.

        One a month: an index of one stays small enough to be kept in memory while it is written, searches by time
        read the months asked about alone, and retention empties old ones.
        """
        if self.is_sqlite:
            return
        month = from_microseconds(max(first_us, EARLIEST_US)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        while to_microseconds(month) <= last_us:
            following = datetime(month.year + month.month // 12, month.month % 12 + 1, 1, tzinfo=UTC)
            name = f"events_{month:%Y_%m}"
            if not sa.inspect(connection).has_table(name):
                # Two writers of a new month: the later one waits, and then finds it made.
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('whodid archive months'))")
                connection.exec_driver_sql(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF events "
                    f"FOR VALUES FROM ({to_microseconds(month)}) TO ({to_microseconds(following)})"
                )
            month = following

    def _prepare(self) -> None:
        """Compare versions, once; SQLite catches up in a transaction of its own, others say what to do."""
        if self._ready:
            return
        with self._engine.begin() as connection:
            version = _version(connection)
        if version != NEWEST:
            if version not in (None, *EARLIER):
                raise BadInput(
                    f"archive {self.location} has tables of version {version}, newer than this program: install the "
                    "program that made it, or a later one"
                )
            if not self.is_sqlite:
                raise BadInput(
                    f"archive {self.location} has tables of version {version or 'none'}, this program needs {NEWEST}: "
                    "run `whodid archive migrate`"
                )
            self.migrate()
        self._ready = True

    def _make_file(self) -> None:
        assert self._path is not None, "only a path can be absent"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))

    @contextmanager
    def _naming_faults(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            raise name_fault(error, self.location, "archive") from error


def _options(url: sa.URL) -> dict[str, Any]:
    # A verb asks a few questions and ends: no pool, so that nothing is held open between two of them.
    options: dict[str, Any] = {"poolclass": sa.NullPool}
    if url.get_backend_name() == "sqlite":
        # A writer waits for the others: each holds the file for milliseconds, but a purge may take a while.
        options["connect_args"] = {"timeout": PATIENCE_SECONDS}
    return options


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours, below: the driver's own would let a reader become a writer
    use_write_ahead_log(connection)
    for pragma in ("synchronous=FULL", "secure_delete=ON", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    if begin := connection.get_execution_options().get("whodid_begin", "BEGIN"):
        connection.exec_driver_sql(begin)


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return version


def _upgrade(connection: sa.Connection) -> None:
    # Alembic takes a third of a second to import, and almost no run needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "services.archive:migrations")
    config.attributes["connection"] = connection
    command.upgrade(config, NEWEST)
