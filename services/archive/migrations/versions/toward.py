"""Whom an action was done to: empty in every event of before."""

import sqlalchemy as sa
from alembic import op

revision = "toward"
down_revision = "pseudonyms"


def upgrade() -> None:
    """Add two columns; nobody searches by them."""
    op.add_column("events", sa.Column("toward_track_id", sa.String))
    op.add_column("events", sa.Column("toward_share", sa.Double))
