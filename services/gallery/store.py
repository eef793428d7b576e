"""The gallery on disk: SQLite by default, any SQLAlchemy url otherwise.

Biometric data: sealed at rest under the keys of services.gallery.keys, readable by its owner alone, and what is deleted
is overwritten.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import sqlalchemy as sa

from services.contracts.card import IdentificationCalibration
from services.contracts.errors import BadInput
from services.gallery import curation
from services.gallery.duplicates import refuse_duplicates
from services.gallery.edits import Consent
from services.gallery.erasure import erase_people
from services.gallery.growth import StrangerTail, follow_growth
from services.gallery.keys import KeyProvider, MasterKeys, NoKeys, find_provider
from services.gallery.legacy import PLAIN_TABLE, take_plain
from services.gallery.reissue import reissue
from services.gallery.schema import FACES, STATE, create_tables, flush_log, open_engine, rewrite, write_state
from services.gallery.session import Session
from services.gallery.snapshot import Snapshot, read_calibration, read_tail, take_snapshot
from services.gallery.template import Template
from services.gallery.vault import Vault, retire_all_but
from services.settings import Settings
from services.sqlite import name_fault


@dataclass(frozen=True, slots=True)
class SubjectSummary:
    """One enrolled subject, for a list.

    Attributes:
        subject_id: The name.
        templates: How many faces of theirs are enrolled.
        best_quality: Of those faces.
        consent: Why they may be recognised and until when; None where nobody said.
        expired: Whether that is over: then nothing is matched with them.
        denied: How many faces were said not to be theirs.
    """

    subject_id: str
    templates: int
    best_quality: float
    consent: Consent | None = None
    expired: bool = False
    denied: int = 0


class Gallery:
    """Enrolled subjects. One gallery is matched in one embedding space; another is refused.

    Args:
        location: Path of a SQLite file (made at the first enrolment), or a SQLAlchemy url.
        keys: Where its master keys come from; a file beside it when None.
    """

    def __init__(self, location: str | Path, keys: KeyProvider | None = None) -> None:
        self.location = str(location)
        self._path = None if "://" in self.location else Path(location)
        self._keys = keys
        self.engine = open_engine(self.location if self._path is None else f"sqlite:///{location}")
        self._sealed = False
        self._cached: tuple[str, str, datetime | None, Snapshot] | None = None

    @classmethod
    def open(cls, settings: Settings, location: str | None = None) -> Self:
        """The gallery at `location`, else the machine's own, with the keys the settings name."""
        location = location or settings.gallery
        return cls(location, find_provider(location, key=settings.key, key_file=settings.key_file))

    @property
    def keys(self) -> KeyProvider:
        """Where the master keys come from."""
        self._keys = self._keys or find_provider(self.location)
        return self._keys

    @property
    def exists(self) -> bool:
        """Whether anybody has made it yet.

        Raises:
            BadInput: Something else lies there.
        """
        if self._path is not None and not self._path.exists():
            return False
        if self._sealed:  # looked at before: every clip asks
            return True
        with self._refusing():
            tables = set(sa.inspect(self.engine).get_table_names())
        if tables and not tables & {STATE.name, PLAIN_TABLE}:
            raise BadInput(f"{self.location} is not a readable gallery: it holds {', '.join(sorted(tables)[:3])}")
        return bool(tables)

    def enrol(self, templates: Iterable[Template], *, duplicate_similarity: float | None = None) -> int:
        """Add templates; those already there are left as they are.

        Args:
            templates: Of any number of subjects, in one embedding space.
            duplicate_similarity: A face this near to somebody else's is refused; None asks nobody.

        Returns:
            How many were new.

        Raises:
            BadInput: A template lies in another embedding space than the gallery's, or shows somebody enrolled
                under another name. Nothing is enrolled then.
        """
        by_subject: dict[str, list[Template]] = {}
        for template in templates:
            by_subject.setdefault(template.subject_id, []).append(template)
        if not by_subject:
            return 0
        with self.write() as session:
            for template in (each for some in by_subject.values() for each in some):
                self.claim_space(session, template.embedding.space)
            people = {name: session.find_person(name) or session.add_person(name) for name in by_subject}
            facts, known = session.facts(), set()
            for face_id, person_id in session.standing.enrolled.items():
                known.add((person_id, facts[face_id][0]))
            new = {
                name: list({t.template_id: t for t in some if (people[name], t.template_id) not in known}.values())
                for name, some in by_subject.items()
            }
            if duplicate_similarity is not None:
                present = {session.names[people[name]]: some for name, some in new.items() if some}
                refuse_duplicates(
                    take_snapshot(session, session.space or "", now=datetime.now(UTC)), present, duplicate_similarity
                )
            for name, some in new.items():
                if some:
                    session.add_edit("enrol", people[name], face_ids=session.add_faces(people[name], some))
        return sum(map(len, new.values()))

    def remove(self, subject_id: str) -> int:
        """Erase a subject: templates, chips, every edit about them, and the keys these were sealed with.

        Everybody else stands as before.

        Returns:
            How many faces were erased.

        Raises:
            BadInput: Nobody of that name is enrolled.
        """
        with self.write() as session:
            person_id = self.require_person(session, subject_id)
            erased = erase_people(session, session.standing.circle(person_id))
            if session.connection.execute(sa.select(FACES.c.face_id).limit(1)).first() is None:
                write_state(session.connection, "space", None)  # an empty gallery may be enrolled into with any model
        flush_log(self.engine)
        return erased

    def list_subjects(self, *, now: datetime | None = None) -> list[SubjectSummary]:
        """Everyone enrolled, by name."""
        now = now or datetime.now(UTC)
        with self.read() as session:
            standing, names = session.standing, session.names
            facts, qualities = session.facts(), dict[str, list[float]]()
            for face_id, person_id in standing.enrolled.items():
                if face_id in facts:
                    qualities.setdefault(person_id, []).append(facts[face_id][1])
            return sorted(
                (
                    SubjectSummary(
                        names[person_id],
                        len(some),
                        max(some),
                        consent := standing.consents.get(person_id),
                        consent is not None and consent.expired(now),
                        sum(owner == person_id for owner in standing.denied.values()),
                    )
                    for person_id, some in qualities.items()
                ),
                key=lambda summary: summary.subject_id,
            )

    def read_templates(self, subject_id: str | None = None) -> list[Template]:
        """All templates, or one subject's, by id.

        Raises:
            BadInput: A subject was named whom nobody enrolled.
        """
        with self.read() as session:
            faces = session.standing.enrolled
            if subject_id is not None:
                person_id = self.require_person(session, subject_id)
                faces = {face: owner for face, owner in faces.items() if owner == person_id}
            found = session.templates(faces, session.space or "")
        return sorted(found.values(), key=lambda template: template.template_id)

    def snapshot(self, space: str, *, now: datetime | None = None) -> Snapshot:
        """Everything needed to search, with the digest that names this state.

        Kept in memory until the gallery changes or somebody's consent runs out.

        Args:
            space: The embedding space of the faces to be searched for.
            now: Whose consent has run out by then is left out; the present when None.

        Raises:
            BadInput: The gallery lies in another space, or holds a row that was altered.
        """
        now = now or datetime.now(UTC)
        with self.read() as session:
            if self._cached is not None:
                revision, cached_space, until, snapshot = self._cached
                if (revision, cached_space) == (session.revision, space) and (until is None or now < until):
                    return snapshot
            snapshot = take_snapshot(session, space, now=now)
            ends = [consent.expires_at for consent in session.standing.consents.values() if consent.expires_at]
            self._cached = session.revision, space, min((end for end in ends if end > now), default=None), snapshot
        return snapshot

    def set_consent(self, subject_id: str, consent: Consent) -> int:
        """Record why a subject may be recognised, and until when; gives the edit's number."""
        with self.write() as session:
            return curation.set_consent(session, self.require_person(session, subject_id), consent)

    def merge(self, subject_id: str, into: str) -> int:
        """Answer `into` for both from now on; gives the edit's number."""
        with self.write() as session:
            return curation.merge(session, self.require_person(session, subject_id), self.require_person(session, into))

    def split(self, subject_id: str, into: str, template_ids: Sequence[str]) -> int:
        """Give some of a subject's templates to another one; says how many."""
        with self.write() as session:
            return curation.split(session, self.require_person(session, subject_id), into, template_ids)

    def deny(self, subject_id: str, faces: Sequence[Template], *, remark: str = "") -> int:
        """Say that faces are not this subject's, whatever they look like; gives the edit's number."""
        with self.write() as session:
            for face in faces:
                self.claim_space(session, face.embedding.space)
            return curation.deny(session, self.require_person(session, subject_id), faces, remark=remark)

    def undo(self, number: int | None = None) -> curation.EditSummary:
        """Take an edit back, the last one in force when no number is given."""
        with self.write() as session:
            return curation.undo(session, number)

    def list_edits(self) -> list[curation.EditSummary]:
        """Everything that was done, oldest first."""
        with self.read() as session:
            return curation.list_edits(session)

    def calibrate(self, calibration: IdentificationCalibration, tail: StrangerTail | None = None) -> None:
        """Decide by this threshold from now on, instead of the embedder's own; with its tail, at any size."""
        with self.write() as session:
            write_state(session.connection, "calibration", calibration.to_json().decode())
            write_state(session.connection, "tail", None if tail is None else tail.to_json().decode())

    def outgrown(self) -> str | None:
        """Says so, when more people are enrolled than the gallery's calibration can tell a threshold for."""
        with self.read() as session:
            calibration, tail = read_calibration(session), read_tail(session)
            subjects = len(set(session.standing.enrolled.values()))
        if calibration is None:
            return None
        grown, threshold = follow_growth(calibration, tail, subjects)
        if threshold.basis == "extrapolated":
            return (
                f"{subjects} people are enrolled, the threshold {grown.threshold} is extrapolated from calibration "
                f"with {calibration.gallery_size}; run `whodid gallery calibrate` with more people"
            )
        if threshold.basis != "outgrown":
            return None
        return (
            f"{subjects} people are enrolled, the threshold was calibrated for {calibration.gallery_size}: strangers "
            f"are named more often than the {calibration.fpir:.2%} allowed; run `whodid gallery calibrate`"
        )

    def rotate_key(self) -> tuple[int, list[str]]:
        """Wrap every key under a new master key and destroy the old ones; readers notice nothing.

        Returns:
            How many keys were wrapped anew, and the ids of old master keys that their keeper must destroy.
        """
        with self.write() as session:
            session.vault.current()
            keys: MasterKeys = self.keys.add()
            changed = session.vault.rewrap(keys)
        with self.write():  # nobody enrols between the last look and the end of the old keys
            left = retire_all_but(self.keys, keys)
        flush_log(self.engine)
        return changed, left

    def reissue(self) -> int:
        """Turn every template by a new rotation; no face is needed, and no old template fits a new one.

        Returns:
            How many vectors were issued anew.
        """
        with self.write() as session:
            issued = reissue(session)
        flush_log(self.engine)
        return issued

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A transaction on what is there; a gallery nobody has made yet is an empty one."""
        if not self.exists:
            with open_engine("sqlite://").begin() as connection:
                create_tables(connection)
                yield Session(connection, Vault(connection, NoKeys(), self.location))
            return
        with self._refusing():
            self._seal_plain()
            with self.engine.begin() as connection:
                yield Session(connection, Vault(connection, self.keys, self.location))

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that changes the gallery, one at a time."""
        if self._path is not None and not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        if self.exists:
            self._seal_plain()
        with self._refusing(), self.engine.execution_options(writes=True).begin() as connection:
            create_tables(connection)
            # A change first: on every database it takes the lock that keeps other writers out until the end.
            grown = sa.cast(sa.cast(STATE.c.value, sa.Integer) + 1, sa.String)
            connection.execute(STATE.update().where(STATE.c.name == "revision").values(value=grown))
            yield Session(connection, Vault(connection, self.keys, self.location))

    def require_person(self, session: Session, subject_id: str) -> str:
        """Person id of somebody who is enrolled under this very name.

        Raises:
            BadInput: Nobody is, or they were merged into somebody else.
        """
        person_id = session.find_person(subject_id)
        if person_id is None or person_id not in session.standing.enrolled.values():
            raise BadInput(f"no subject {subject_id!r} in gallery {self.location}: see `whodid gallery list`")
        if session.names[person_id] != subject_id:
            raise BadInput(
                f"{subject_id!r} was merged into {session.names[person_id]!r}: name them, or undo the merge "
                "(`whodid gallery edits`)"
            )
        return person_id

    def claim_space(self, session: Session, space: str) -> None:
        """See to it that faces of this space may be kept here; the first ones decide.

        Raises:
            BadInput: Others lie here already.
        """
        if session.space is None:
            write_state(session.connection, "space", space)
        elif session.space != space:
            raise BadInput(
                f"gallery {self.location} holds embeddings of {session.space!r}, this face has {space!r}: "
                "`whodid gallery migrate`, enrol into a new gallery, or load the model this one was enrolled with"
            )

    def _seal_plain(self) -> None:
        """A gallery from before sealing is sealed the first time it is opened."""
        if self._sealed:
            return
        if not sa.inspect(self.engine).has_table(PLAIN_TABLE):
            self._sealed = True
            return
        with self.engine.execution_options(writes=True).begin() as connection:
            if not sa.inspect(connection).has_table(PLAIN_TABLE):
                return  # another process was quicker
            templates = take_plain(connection)
            create_tables(connection)
            session = Session(connection, Vault(connection, self.keys, self.location))
            for template in templates:
                self.claim_space(session, template.embedding.space)
                person_id = session.find_person(template.subject_id) or session.add_person(template.subject_id)
                session.add_edit("enrol", person_id, face_ids=session.add_faces(person_id, [template]))
        rewrite(self.engine)
        flush_log(self.engine)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DatabaseError as error:
            raise name_fault(error, self.location, "gallery") from error
