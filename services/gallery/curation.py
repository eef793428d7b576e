"""Curation: merges, splits, hard negatives, consent and undo. Each is an edit; nothing is destroyed by one."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from services.contracts.errors import BadInput
from services.gallery.edits import Consent, EditKind, StoredEdit
from services.gallery.session import Session
from services.gallery.template import Template


@dataclass(frozen=True, slots=True)
class EditSummary:
    """One edit, with names.

    Attributes:
        number: What it is undone by.
        at: When it was done.
        kind: What was done.
        subject_id: To whom.
        into: Whom a merge or split goes into.
        faces: How many faces it is about.
        undoes: The edit it takes back.
        undone: Whether it counts no longer.
        remark: What was said with it.
    """

    number: int
    at: datetime
    kind: EditKind
    subject_id: str
    into: str | None
    faces: int
    undoes: int | None
    undone: bool
    remark: str


def list_edits(session: Session) -> list[EditSummary]:
    """Every edit, oldest first."""
    return [_summarise(session, stored) for stored in session.edits()]


def merge(session: Session, person_id: str, into: str) -> int:
    """Two people are one; gives the edit's number.

    Raises:
        BadInput: They are one already.
    """
    if person_id == into:
        raise BadInput(f"{session.names[into]!r} cannot be merged into themselves")
    return session.add_edit("merge", person_id, other_person_id=into)


def split(session: Session, person_id: str, into: str, template_ids: Sequence[str]) -> int:
    """Some of a person's templates show another one.

    Args:
        session: An open transaction that writes.
        person_id: Who has them.
        into: Name of the other person, enrolled or not.
        template_ids: Which; the beginning of an id will do.

    Returns:
        How many templates moved.

    Raises:
        BadInput: A template is not theirs, or `into` is themselves.
    """
    owned = {face for face, owner in session.standing.enrolled.items() if owner == person_id}
    ids = {face: facts[0] for face, facts in session.facts().items() if face in owned}
    chosen: set[str] = set()
    for wanted in template_ids:
        fitting = [face for face, template_id in ids.items() if template_id.startswith(wanted)]
        if len(fitting) != 1:
            raise BadInput(
                f"{len(fitting)} templates of {session.names[person_id]!r} begin with {wanted!r}: "
                "name one as `whodid gallery show --json` does"
            )
        chosen.update(fitting)
    other = session.find_person(into) or session.add_person(into)
    if other == person_id:
        raise BadInput(f"the templates are {into!r}'s already")
    session.add_edit("split", person_id, other_person_id=other, face_ids=sorted(chosen))
    return len(chosen)


def deny(session: Session, person_id: str, faces: Sequence[Template], *, remark: str) -> int:
    """Faces that are not this person's, whatever they look like; gives the edit's number."""
    return session.add_edit("not", person_id, face_ids=session.add_faces(person_id, faces), remark=remark)


def set_consent(session: Session, person_id: str, consent: Consent) -> int:
    """Why a person may be recognised, and until when; gives the edit's number."""
    return session.add_edit("consent", person_id, consent=consent)


def undo(session: Session, number: int | None) -> EditSummary:
    """Take an edit back.

    Args:
        session: An open transaction that writes.
        number: Which; the last one in force, undoing ones aside, when None.

    Raises:
        BadInput: There is none, or it is undone already.
    """
    edits, undone = session.edits(), session.standing.undone
    if number is None:
        open_edits = [each for each in edits if each.number not in undone and each.edit.undoes is None]
        chosen = open_edits[-1] if open_edits else None
    else:
        chosen = next((each for each in edits if each.number == number), None)
    if chosen is None:
        raise BadInput(f"no edit {number or 'in force'} in this gallery: see `whodid gallery edits`")
    if chosen.number in undone:
        raise BadInput(f"edit {chosen.number} is undone already: undo the undoing one (`whodid gallery edits`)")
    session.add_edit("undo", chosen.person_id, other_person_id=chosen.other_person_id, undoes=chosen.number)
    return _summarise(session, chosen)


def _summarise(session: Session, stored: StoredEdit) -> EditSummary:
    edit, other = stored.edit, stored.other_person_id
    return EditSummary(
        number=stored.number,
        at=edit.at,
        kind=edit.kind,
        subject_id=session.names[stored.person_id],
        into=None if other is None else session.names[other],
        faces=len(edit.face_ids),
        undoes=edit.undoes,
        undone=stored.number in session.standing.undone,
        remark=edit.remark,
    )
