"""Erasure: people leave a gallery with everything about them, and everybody else stands as before."""

from collections.abc import Collection

import sqlalchemy as sa

from services.gallery.edits import changed_owners
from services.gallery.schema import EDITS, FACES, SUBJECTS, VECTORS
from services.gallery.session import Session

_QUERY_VALUES = 500  # databases limit how many a query may name


def erase_people(session: Session, circle: Collection[str]) -> int:
    """Delete people, their faces, every edit that names them and the keys all this was sealed with.

    A face of somebody else that lies among theirs (it was split off) moves to its owner's key.

    Args:
        session: An open transaction that writes.
        circle: Person ids that belong together, as `Standing.circle` gives them.

    Returns:
        How many faces were deleted.
    """
    connection, before = session.connection, session.standing
    owned = {face for faces in (before.enrolled, before.denied) for face, owner in faces.items() if owner in circle}
    lying = set(connection.scalars(sa.select(FACES.c.face_id).where(FACES.c.person_id.in_(circle))))
    kept = {face: owner for face, owner in before.enrolled.items() if owner not in circle}
    moving = {face: kept[face] for face in lying & kept.keys()}
    moved = [(moving[face], face) for face in sorted(moving)]
    for owner, face in moved:
        _move(session, face, owner)
    connection.execute(EDITS.delete().where(EDITS.c.person_id.in_(circle) | EDITS.c.other_person_id.in_(circle)))
    doomed = sorted((owned | lying) - moving.keys())
    for start in range(0, len(doomed), _QUERY_VALUES):
        for table in (VECTORS, FACES):
            connection.execute(table.delete().where(table.c.face_id.in_(doomed[start : start + _QUERY_VALUES])))
    connection.execute(SUBJECTS.delete().where(SUBJECTS.c.person_id.in_(circle)))
    session.forget_standing()
    for face, owner in changed_owners(kept, session.standing.enrolled).items():
        session.add_edit("enrol", owner, face_ids=[face])
    return len(doomed)


def _move(session: Session, face_id: str, person_id: str) -> None:
    """Seal a face under another person's key, in its place."""
    row = session.connection.execute(sa.select(FACES).where(FACES.c.face_id == face_id)).one()
    old, new = session.vault.person(row.person_id), session.vault.person(person_id)
    for column in ("facts", "chip"):
        content = session.vault.open(old, getattr(row, column), column, row.person_id, face_id)
        sealed = new.close(content, column, person_id, face_id)
        session.connection.execute(FACES.update().where(FACES.c.face_id == face_id).values({column: sealed}))
    for each in session.connection.execute(sa.select(VECTORS).where(VECTORS.c.face_id == face_id)).all():
        place = (face_id, each.space, each.rotation_id)
        content = session.vault.open(old, each.vector, "vector", row.person_id, *place)
        session.connection.execute(
            VECTORS.update()
            .where(VECTORS.c.face_id == face_id, VECTORS.c.space == each.space)
            .values(vector=new.close(content, "vector", person_id, *place))
        )
    session.connection.execute(FACES.update().where(FACES.c.face_id == face_id).values(person_id=person_id))
