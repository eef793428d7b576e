"""What somebody unknown is called: empty in every track and event of before."""

import sqlalchemy as sa
from alembic import op

revision = "pseudonyms"
down_revision = "behaviours"

# A hundred million events as in the versions before, some fifty to each pseudonym.
_DESIGN_SIZE = (("tracks", "tracks_pseudonym", "12000000 10 1"), ("events", "events_pseudonym", "60000000 50 1 1"))


def upgrade() -> None:
    """Add the columns, and the indexes that find the rows in which they are not empty."""
    known = sa.text("pseudonym IS NOT NULL")
    for table, columns in (("tracks", ["analysis_no"]), ("events", ["at_us", "event_id"])):
        op.add_column(table, sa.Column("pseudonym", sa.String))
        op.create_index(
            f"{table}_pseudonym", table, ["pseudonym", *columns], sqlite_where=known, postgresql_where=known
        )
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for table, index, stat in _DESIGN_SIZE:
            row = {"tbl": table, "idx": index, "stat": stat}
            connection.execute(sa.text("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (:tbl, :idx, :stat)"), row)
