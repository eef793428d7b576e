"""Edits: what operators did to a gallery, in order. Who is who now is the fold of those that were not undone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from pydantic import AwareDatetime

from services.contracts.message import Message

EditKind = Literal["enrol", "not", "merge", "split", "consent", "name", "undo"]


class Consent(Message):
    """Why a person may be recognised, and until when."""

    basis: str
    expires_at: AwareDatetime | None = None

    def expired(self, now: datetime) -> bool:
        """Whether it has run out."""
        return self.expires_at is not None and self.expires_at <= now


class Edit(Message):
    """One thing done. People and faces are named by the gallery's own random ids."""

    kind: EditKind
    at: AwareDatetime
    face_ids: tuple[str, ...] = ()
    consent: Consent | None = None
    undoes: int | None = None
    remark: str = ""
    pseudonym: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEdit:
    """An edit where it lies.

    Attributes:
        number: Its place in the order.
        person_id: Whom it is about.
        other_person_id: Into whom a merge or split goes.
        edit: What was done.
    """

    number: int
    person_id: str
    other_person_id: str | None
    edit: Edit


@dataclass(frozen=True, slots=True)
class Standing:
    """Who is who, once every edit has been followed.

    Attributes:
        enrolled: Face id to the person it shows.
        denied: Face id to the person it was said not to show.
        aliases: Person merged away, to the one they are.
        consents: Person to the consent last recorded.
        pseudonyms: What somebody was called before they were named, to the person they are.
        undone: Numbers of edits that count no longer.
    """

    enrolled: dict[str, str] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    consents: dict[str, Consent] = field(default_factory=dict)
    pseudonyms: dict[str, str] = field(default_factory=dict)
    undone: frozenset[int] = frozenset()

    def root(self, person_id: str) -> str:
        """The person that `person_id` stands for after all merges."""
        while person_id in self.aliases:
            person_id = self.aliases[person_id]
        return person_id

    def circle(self, person_id: str) -> set[str]:
        """A person and everyone merged into them."""
        return {person_id} | {alias for alias in self.aliases if self.root(alias) == person_id}


def fold(edits: Iterable[StoredEdit]) -> Standing:
    """Follow the edits in order, leaving out the undone. An undo can be undone."""
    ordered = sorted(edits, key=lambda stored: stored.number)
    undone: set[int] = set()
    for stored in reversed(ordered):
        if stored.edit.undoes is not None and stored.number not in undone:
            undone.add(stored.edit.undoes)
    standing = Standing(undone=frozenset(undone))
    for stored in ordered:
        if stored.number not in undone:
            _follow(stored, standing)
    return standing


def _follow(stored: StoredEdit, standing: Standing) -> None:
    edit, other = stored.edit, stored.other_person_id
    person = standing.root(stored.person_id)
    if edit.kind == "enrol":
        standing.enrolled.update(dict.fromkeys(edit.face_ids, person))
    elif edit.kind == "name" and edit.pseudonym is not None:
        standing.enrolled.update(dict.fromkeys(edit.face_ids, person))
        standing.pseudonyms[edit.pseudonym] = person
    elif edit.kind == "not":
        standing.denied.update(dict.fromkeys(edit.face_ids, person))
    elif edit.kind == "consent" and edit.consent is not None:
        standing.consents[person] = edit.consent
    elif edit.kind == "merge" and other is not None and standing.root(other) != person:
        into = standing.root(other)
        standing.aliases[person] = into
        _hand_over(standing.enrolled, person, into)
        _hand_over(standing.denied, person, into)
        _hand_over(standing.pseudonyms, person, into)
        if person in standing.consents:
            standing.consents.setdefault(into, standing.consents[person])
    elif edit.kind == "split" and other is not None:
        into = standing.root(other)
        standing.enrolled.update({face: into for face in edit.face_ids if face in standing.enrolled})


def _hand_over(faces: dict[str, str], person: str, into: str) -> None:
    faces.update({face: into for face, owner in faces.items() if owner == person})


def live_edits(edits: Iterable[StoredEdit], undone: frozenset[int]) -> list[StoredEdit]:
    """Edits in force, oldest first; undoing ones among them are left out."""
    return [stored for stored in edits if stored.number not in undone and stored.edit.undoes is None]


def changed_owners(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Faces whose person would be another one, to the person they had."""
    return {face: person for face, person in before.items() if after.get(face) != person}
