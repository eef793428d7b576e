"""One table of whole events: what archives were before they had versions."""

import sqlalchemy as sa
from alembic import op

revision = "first"
down_revision = None


def upgrade() -> None:
    """Make the table, unless this archive is from then and has it."""
    if sa.inspect(op.get_bind()).has_table("events"):
        return
    op.create_table(
        "events",
        sa.Column("event_id", sa.String, primary_key=True),
        sa.Column("clip_id", sa.String, nullable=False, index=True),
        sa.Column("clip_uri", sa.String, nullable=False),
        sa.Column("subject_id", sa.String, index=True),
        sa.Column("action", sa.String, nullable=False, index=True),
        sa.Column("start_seconds", sa.Float, nullable=False),
        sa.Column("message", sa.LargeBinary, nullable=False),
    )
