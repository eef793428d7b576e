"""What an action was part of, beside it: empty in every event of before."""

import sqlalchemy as sa
from alembic import op

revision = "behaviours"
down_revision = "analyses"


def upgrade() -> None:
    """Add two columns, and the index that finds the few rows in which they are not empty."""
    op.add_column("events", sa.Column("behaviour", sa.String))
    op.add_column("events", sa.Column("behaviour_probability", sa.Double))
    known = sa.text("behaviour IS NOT NULL")
    op.create_index(
        "events_behaved",
        "events",
        ["behaviour", "at_us", "event_id"],
        sqlite_where=known,
        postgresql_where=known,
    )
    if op.get_bind().dialect.name == "sqlite":
        # Statistics of the size it is designed for, as for the other indexes: see the version before.
        op.execute(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('events', 'events_behaved', '1000000 100000 1 1')"
        )
