"""Reissue: every template turned by a new rotation, so that what was stolen compares with nothing any more."""

from dataclasses import replace

import numpy as np
import sqlalchemy as sa

from services.gallery.protection import make_rotation, rotate
from services.gallery.schema import SECRETS, VECTORS
from services.gallery.session import Session


def reissue(session: Session) -> int:
    """Turn every vector of every space; the old rotation's key is destroyed.

    Returns:
        How many vectors.
    """
    old_id = session.rotation_id()
    old_secret = session.vault.secret(f"rotation {old_id}")
    assert old_secret is not None
    spaces = list(session.connection.scalars(sa.select(VECTORS.c.space).distinct()))
    held = {space: list(session.vectors(space)) for space in spaces}
    session.new_rotation()
    for space, vectors in held.items():
        if not vectors:
            continue
        dimension = len(vectors[0][1].vector)
        # From the old position to the new one in a single turn: the plain embedding never exists.
        old = make_rotation(old_secret, space=space, dimension=dimension)
        turn = session.rotation(space, dimension) @ old.T
        turned = rotate(np.stack([stored.vector for _, stored in vectors]), turn)
        session.replace_turned(
            [
                (person_id, replace(stored, vector=vector))
                for (person_id, stored), vector in zip(vectors, turned, strict=True)
            ],
            space,
        )
    session.connection.execute(SECRETS.delete().where(SECRETS.c.name == f"rotation {old_id}"))
    return sum(len(vectors) for vectors in held.values())
