"""Galleries written before templates were sealed: read once, sealed, and dropped."""

import numpy as np
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.gallery.template import Embedding, Template

PLAIN_TABLE = "templates"


def take_plain(connection: Connection) -> list[Template]:
    """Read every template of an old gallery and drop its tables, in the caller's transaction."""
    space = connection.execute(sa.text("SELECT name FROM space")).scalar()
    columns = "subject_id, vector, quality, chip_png, landmarks_px, source_sha256, template_id"
    rows = connection.execute(sa.text(f"SELECT {columns} FROM templates ORDER BY subject_id, template_id"))
    templates = [
        Template(
            subject_id=row.subject_id,
            embedding=Embedding(np.frombuffer(row.vector, "<f4"), str(space)),
            quality=row.quality,
            chip_png=row.chip_png,
            landmarks_px=np.frombuffer(row.landmarks_px, "<f4").reshape(5, 2),
            source_sha256=row.source_sha256,
            template_id=row.template_id,
        )
        for row in rows
    ]
    for table in (PLAIN_TABLE, "space"):
        connection.execute(sa.text(f"DROP TABLE {table}"))
    return templates
