"""Analyses beside events, columns in place of documents, partitions in PostgreSQL.

The tables are written out, not taken from services.archive.tables: those change with the next version, this does not.
"""

import hashlib
import json
import time
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "analyses"
down_revision = "first"

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_DAYS_BEFORE_1980 = 3652
_DAY_US = 86_400_000_000
# A hundred million events of a million clips: twenty thousand of each subject, five million of each action.
_DESIGN_SIZE = (
    ("analyses", "sqlite_autoindex_analyses_1", "1000000 1"),
    ("analyses", "ix_analyses_clip_id", "1000000 1"),
    ("analyses", "analyses_camera", "1000000 1000 1"),
    ("tracks", "sqlite_autoindex_tracks_1", "20000000 20 1"),
    ("tracks", "tracks_who", "8000000 4000 1"),
    ("tracks", "tracks_runner_up", "20000000 4000 1"),
    ("events", "sqlite_autoindex_events_1", "100000000 1 1"),
    ("events", "events_who", "40000000 20000 1 1"),
    ("events", "events_unnamed", "60000000 1 1"),
    ("events", "events_did", "100000000 5000000 1 1"),
    ("events", "events_where", "100000000 100000 1 1"),
    ("events", "events_when", "100000000 1 1"),
    ("events", "events_analysis", "100000000 100 1"),
)


def upgrade() -> None:
    """Make the tables and move every event into them."""
    connection = op.get_bind()
    old = connection.execute(sa.text("SELECT clip_uri, message FROM events ORDER BY event_id")).all()
    op.drop_table("events")
    analyses, tracks, events = _create_tables()
    if connection.dialect.name == "postgresql":
        op.execute(f"CREATE TABLE events_undated PARTITION OF events FOR VALUES FROM (0) TO ({_undated_until()})")
    else:
        _fix_plans(connection)
    numbers: dict[str, int] = {}
    seen: dict[tuple[int, str], dict[str, Any]] = {}
    for clip_uri, message in old:
        event = json.loads(bytes(message))
        said = {"clip_id": event["clip_id"], "provenance": event["provenance"]}
        analysis_id = hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        if analysis_id not in numbers:
            connection.execute(analyses.insert(), _analysis_row(analysis_id, clip_uri, event))
            newest = sa.select(sa.func.max(analyses.c.analysis_no))
            numbers[analysis_id] = connection.execute(newest).scalar_one()
        row = _event_row(event, numbers[analysis_id])
        connection.execute(events.insert(), row)
        track = seen.setdefault(
            (row["analysis_no"], row["track_id"]), {column.name: row[column.name] for column in tracks.c}
        )
        track["start_seconds"] = min(track["start_seconds"], row["start_seconds"])
        track["end_seconds"] = max(track["end_seconds"], row["end_seconds"])
    if seen:
        connection.execute(tracks.insert(), list(seen.values()))


def _fix_plans(connection: sa.Connection) -> None:
    """Tell SQLite's planner what the tables look like at the size they are designed for, before anything is in them.

    Without statistics it takes "what" for as telling as "who". Statistics gathered later would make plans depend on
    when they were gathered; these are the same on every machine. PostgreSQL gathers its own.

    Source: SQLite, "The SQLite Query Optimizer Overview" and the format of sqlite_stat1: rows in the index, then
    rows that share the first column, the first two, ...
    """
    connection.execute(sa.text("ANALYZE"))  # makes the table
    rows = [{"tbl": table, "idx": index, "stat": shares} for table, index, shares in _DESIGN_SIZE]
    connection.execute(sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"), rows)


def _analysis_row(analysis_id: str, clip_uri: str, event: dict[str, Any]) -> dict[str, Any]:
    return {
        "analysis_id": bytes.fromhex(analysis_id),
        "clip_id": bytes.fromhex(event["clip_id"]),
        "clip_uri": clip_uri,
        "kept_from_us": time.time_ns() // 1000,
        "provenance": json.dumps(event["provenance"], separators=(",", ":"), ensure_ascii=False),
    }


def _event_row(event: dict[str, Any], analysis_no: int) -> dict[str, Any]:
    identity, runner_up = event["identity"], event["identity"]["runner_up"] or {}
    at_us = int(event["clip_id"][:8], 16) % _DAYS_BEFORE_1980 * _DAY_US + round(event["start_seconds"] * 1e6)
    return {
        "event_id": bytes.fromhex(event["event_id"]),
        "at_us": at_us,
        "analysis_no": analysis_no,
        "runner_up_subject_id": runner_up.get("subject_id"),
        "runner_up_similarity": runner_up.get("similarity"),
        "action": event["action"]["name"],
        "probability": event["action"]["probability"],
        **{name: event[name] for name in ("track_id", "start_seconds", "end_seconds")},
        **{name: identity[name] for name in ("subject_id", "decision", "reason", "similarity", "threshold")},
    }


def _undated_until() -> int:
    return _DAYS_BEFORE_1980 * _DAY_US


def _analysis_no() -> sa.Column[int]:
    key = sa.ForeignKey("analyses.analysis_no", ondelete="CASCADE")
    return sa.Column("analysis_no", _NUMBER, key, primary_key=True)


def _create_tables() -> tuple[sa.Table, sa.Table, sa.Table]:
    analyses = op.create_table(
        "analyses",
        sa.Column("analysis_no", _NUMBER, sa.Identity(), primary_key=True),
        sa.Column("analysis_id", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("clip_id", sa.LargeBinary, nullable=False, index=True),
        sa.Column("clip_uri", sa.String, nullable=False),
        sa.Column("camera_id", sa.String),
        sa.Column("started_us", sa.BigInteger),
        sa.Column("kept_from_us", sa.BigInteger, nullable=False),
        sa.Column("video", sa.String),
        sa.Column("provenance", sa.String, nullable=False),
    )
    op.create_index("analyses_camera", "analyses", ["camera_id", "kept_from_us"])
    op.create_table(
        "artefacts",
        _analysis_no(),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("uri", sa.String, primary_key=True),
    )
    tracks = op.create_table(
        "tracks",
        _analysis_no(),
        sa.Column("track_id", sa.String, primary_key=True),
        sa.Column("subject_id", sa.String),
        sa.Column("runner_up_subject_id", sa.String),
        sa.Column("reason", sa.String),
        sa.Column("start_seconds", sa.Double, nullable=False),
        sa.Column("end_seconds", sa.Double, nullable=False),
    )
    for name, column in (("tracks_who", "subject_id"), ("tracks_runner_up", "runner_up_subject_id")):
        known = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "tracks", [column, "analysis_no"], sqlite_where=known, postgresql_where=known)
    events = op.create_table(
        "events",
        sa.Column("event_id", sa.LargeBinary, primary_key=True),
        sa.Column("at_us", sa.BigInteger, primary_key=True),
        sa.Column("analysis_no", _NUMBER, sa.ForeignKey("analyses.analysis_no"), nullable=False),
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
        postgresql_partition_by="RANGE (at_us)",
    )
    named, unnamed = sa.text("subject_id IS NOT NULL"), sa.text("subject_id IS NULL")
    who, when = ["subject_id", "at_us", "event_id"], ["at_us", "event_id"]
    op.create_index("events_who", "events", who, sqlite_where=named, postgresql_where=named)
    op.create_index("events_unnamed", "events", when, sqlite_where=unnamed, postgresql_where=unnamed)
    op.create_index("events_did", "events", ["action", *when])
    op.create_index("events_where", "events", ["camera_id", *when])
    op.create_index("events_when", "events", when)
    op.create_index("events_analysis", "events", ["analysis_no", "start_seconds"])
    return analyses, tracks, events
