"""Tables of the archive: what one event costs on disk is what a hundred million of them cost.

Digests are stored as bytes, half of their hexadecimal; what all events of an analysis share (clip, provenance,
evidence) is stored once, beside it. Names of people stand in columns of their own (`subject_id`,
`runner_up_subject_id`, and `reason` where it says between whom) and in no document: erasing one is an UPDATE.
"""

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator


class Digest(TypeDecorator[str]):
    """A digest, hexadecimal in Python and bytes in the database."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        """To the database."""
        return None if value is None else bytes.fromhex(value)

    def process_result_value(self, value: bytes | None, dialect: Dialect) -> str | None:
        """From the database."""
        return None if value is None else bytes(value).hex()


METADATA = sa.MetaData()
# 64-bit in PostgreSQL; SQLite numbers rows by itself only in a column of type INTEGER.
_RowNumber = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

ANALYSES = sa.Table(
    "analyses",
    METADATA,
    sa.Column("analysis_no", _RowNumber, sa.Identity(), primary_key=True),
    sa.Column("analysis_id", Digest, nullable=False, unique=True),
    sa.Column("clip_id", Digest, nullable=False, index=True),
    sa.Column("clip_uri", sa.String, nullable=False),
    sa.Column("camera_id", sa.String),
    sa.Column("started_us", sa.BigInteger, comment="When second 0 was recorded: microseconds since 1970 UTC."),
    sa.Column("kept_from_us", sa.BigInteger, nullable=False, comment="Retention counts from here: the clip's end."),
    sa.Column("video", sa.String, comment="JSON; null in archives of before it was recorded."),
    sa.Column("provenance", sa.String, nullable=False, comment="JSON."),
)
sa.Index("analyses_camera", ANALYSES.c.camera_id, ANALYSES.c.kept_from_us)


def _analysis_no() -> sa.Column[int]:
    key = sa.ForeignKey("analyses.analysis_no", ondelete="CASCADE")
    return sa.Column("analysis_no", _RowNumber, key, primary_key=True)


ARTEFACTS = sa.Table(
    "artefacts",
    METADATA,
    _analysis_no(),
    sa.Column("kind", sa.String, primary_key=True, comment="evidence or report."),
    sa.Column("uri", sa.String, primary_key=True),
    comment="What lies outside the archive about an analysis, so that a purge and an erasure find it.",
)

TRACKS = sa.Table(
    "tracks",
    METADATA,
    _analysis_no(),
    sa.Column("track_id", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String),
    sa.Column("runner_up_subject_id", sa.String),
    sa.Column("reason", sa.String, comment="Why nobody was named; may say between whom."),
    sa.Column("pseudonym", sa.String, comment="What somebody unknown is called in every clip."),
    sa.Column("start_seconds", sa.Double, nullable=False),
    sa.Column("end_seconds", sa.Double, nullable=False),
    comment="Who was in view, whether or not anything they did became an event.",
)
for _name, _column in (
    ("tracks_who", TRACKS.c.subject_id),
    ("tracks_runner_up", TRACKS.c.runner_up_subject_id),
    ("tracks_pseudonym", TRACKS.c.pseudonym),
):
    _known = _column.is_not(None)
    sa.Index(_name, _column, TRACKS.c.analysis_no, sqlite_where=_known, postgresql_where=_known)

EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("event_id", Digest, primary_key=True),
    sa.Column(
        "at_us",
        sa.BigInteger,
        primary_key=True,  # PostgreSQL asks it of a partition key
        comment="When it began, microseconds since 1970 UTC; see services.archive.moments for clips without a date.",
    ),
    sa.Column("analysis_no", _RowNumber, sa.ForeignKey("analyses.analysis_no"), nullable=False),
    sa.Column("camera_id", sa.String),
    sa.Column("track_id", sa.String, nullable=False),
    sa.Column("subject_id", sa.String),
    sa.Column("decision", sa.String, nullable=False),
    sa.Column("reason", sa.String),
    sa.Column("similarity", sa.Double),
    sa.Column("runner_up_subject_id", sa.String),
    sa.Column("runner_up_similarity", sa.Double),
    sa.Column("threshold", sa.Double),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("probability", sa.Double, nullable=False),
    sa.Column("start_seconds", sa.Double, nullable=False),
    sa.Column("end_seconds", sa.Double, nullable=False),
    sa.Column("behaviour", sa.String),
    sa.Column("behaviour_probability", sa.Double),
    sa.Column("pseudonym", sa.String),
    sa.Column("toward_track_id", sa.String, comment="Whom it was done to; who that is, stands in tracks."),
    sa.Column("toward_share", sa.Double),
    postgresql_partition_by="RANGE (at_us)",
)
_NAMED = EVENTS.c.subject_id.is_not(None)
_UNNAMED = EVENTS.c.subject_id.is_(None)
# Each question has an index that holds its rows in the order in which they are answered, so that a page of answers
# reads about a page of rows. Only the named are in the first, as most people seen are not.
sa.Index(
    "events_who", EVENTS.c.subject_id, EVENTS.c.at_us, EVENTS.c.event_id, sqlite_where=_NAMED, postgresql_where=_NAMED
)
sa.Index("events_unnamed", EVENTS.c.at_us, EVENTS.c.event_id, sqlite_where=_UNNAMED, postgresql_where=_UNNAMED)
sa.Index("events_did", EVENTS.c.action, EVENTS.c.at_us, EVENTS.c.event_id)
_BEHAVED = EVENTS.c.behaviour.is_not(None)
sa.Index(
    "events_behaved",
    EVENTS.c.behaviour,
    EVENTS.c.at_us,
    EVENTS.c.event_id,
    sqlite_where=_BEHAVED,
    postgresql_where=_BEHAVED,
)
_CALLED = EVENTS.c.pseudonym.is_not(None)
sa.Index(
    "events_pseudonym",
    EVENTS.c.pseudonym,
    EVENTS.c.at_us,
    EVENTS.c.event_id,
    sqlite_where=_CALLED,
    postgresql_where=_CALLED,
)
sa.Index("events_where", EVENTS.c.camera_id, EVENTS.c.at_us, EVENTS.c.event_id)
sa.Index("events_when", EVENTS.c.at_us, EVENTS.c.event_id)
sa.Index("events_analysis", EVENTS.c.analysis_no, EVENTS.c.start_seconds)
