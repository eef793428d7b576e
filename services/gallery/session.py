"""Session: one transaction on a gallery, in terms of people, faces and edits instead of sealed rows."""

import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.engine import Connection

from services.gallery.edits import Consent, Edit, EditKind, Standing, StoredEdit, fold
from services.gallery.protection import make_rotation, rotate
from services.gallery.schema import EDITS, FACES, SUBJECTS, VECTORS, read_state, write_state
from services.gallery.sealing import index_text
from services.gallery.template import Embedding, Template
from services.gallery.vault import Vault

_INDEX = "name index"
_ROTATION = "rotation "
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, eq=False)
class StoredVector:
    """A face in one space, as it lies: turned.

    Attributes:
        face_id: Whose.
        template_id: What the template is called to the outside.
        vector: (D,) float32, turned by the gallery's rotation.
    """

    face_id: str
    template_id: str
    vector: NDArray[np.float32]


class Session:
    """Reads and writes a gallery.

    Args:
        connection: An open transaction.
        vault: Its keys.
    """

    def __init__(self, connection: Connection, vault: Vault) -> None:
        self.connection = connection
        self.vault = vault
        self._rotations: dict[tuple[str, str, int], NDArray[np.float64]] = {}
        self._rotation_id: str | None = None

    @property
    def space(self) -> str | None:
        """The active embedding space."""
        return read_state(self.connection, "space")

    @property
    def revision(self) -> str:
        """Another one after every change."""
        return read_state(self.connection, "revision") or "0"

    @cached_property
    def names(self) -> dict[str, str]:
        """Person id to name, of everyone on record; opens everybody's key on the way."""
        names = {}
        for row in self.connection.execute(sa.select(SUBJECTS)):
            self.vault.learn(row.person_id, row.key_id, row.wrapped)
            names[row.person_id] = self.vault.open(
                self.vault.person(row.person_id), row.name, "name", row.person_id
            ).decode()
        return names

    @cached_property
    def standing(self) -> Standing:
        """Who is who."""
        return fold(self.edits())

    def edits(self) -> list[StoredEdit]:
        """Every edit, oldest first."""
        assert self.names is not None  # opens all keys in one query
        return [
            StoredEdit(
                row.number,
                row.person_id,
                row.other_person_id,
                Edit.model_validate_json(
                    self.vault.open(
                        self.vault.person(row.person_id),
                        row.content,
                        *_edit_place(row.number, row.person_id, row.other_person_id),
                    )
                ),
            )
            for row in self.connection.execute(sa.select(EDITS).order_by(EDITS.c.number))
        ]

    def find_person(self, name: str) -> str | None:
        """Person id of a name, after merges; None where nobody has it."""
        index = self.vault.secret(_INDEX)
        if index is None:
            return None
        query = sa.select(SUBJECTS.c.person_id).where(SUBJECTS.c.name_index == index_text(index, name))
        found = self.connection.execute(query).scalar()
        return None if found is None else self.standing.root(found)

    def add_person(self, name: str) -> str:
        """Put a name on record."""
        index = self.vault.secret(_INDEX) or self.vault.make_secret(_INDEX)
        person_id, key_id, wrapped = self.vault.add_person()
        self.connection.execute(
            SUBJECTS.insert().values(
                person_id=person_id,
                key_id=key_id,
                wrapped=wrapped,
                name_index=index_text(index, name),
                name=self.vault.person(person_id).close(name.encode(), "name", person_id),
            )
        )
        self.names[person_id] = name
        return person_id

    def add_edit(
        self,
        kind: EditKind,
        person_id: str,
        *,
        other_person_id: str | None = None,
        face_ids: Sequence[str] = (),
        consent: Consent | None = None,
        undoes: int | None = None,
        remark: str = "",
        pseudonym: str | None = None,
    ) -> int:
        """Record what was done; gives its number."""
        edit = Edit(
            kind=kind,
            at=datetime.now(UTC),
            face_ids=tuple(face_ids),
            consent=consent,
            undoes=undoes,
            remark=remark,
            pseudonym=pseudonym,
        )
        # Counted and not numbered by the database: a number is never given twice, so an undo means one edit for ever.
        number = int(read_state(self.connection, "edits") or 0) + 1
        write_state(self.connection, "edits", str(number))
        place = _edit_place(number, person_id, other_person_id)
        content = self.vault.person(person_id).close(edit.to_json(), *place)
        self.connection.execute(
            EDITS.insert().values(number=number, person_id=person_id, other_person_id=other_person_id, content=content)
        )
        self.forget_standing()
        return number

    def forget_standing(self) -> None:
        """Fold again at the next question."""
        self.__dict__.pop("standing", None)

    def add_faces(self, person_id: str, templates: Sequence[Template]) -> list[str]:
        """Keep a person's templates; gives their face ids. They count once an edit says whose they are."""
        seal, faces, vectors = self.vault.person(person_id), list[dict[str, Any]](), list[dict[str, Any]]()
        for template in templates:
            face_id, embedding = secrets.token_hex(16), template.embedding
            facts = {
                "template_id": template.template_id,
                "quality": template.quality,
                "landmarks_px": template.landmarks_px.astype(np.float32).tolist(),
                "source_sha256": template.source_sha256,
            }
            faces.append(
                {
                    "face_id": face_id,
                    "person_id": person_id,
                    "facts": seal.close(json.dumps(facts).encode(), "facts", person_id, face_id),
                    "chip": seal.close(template.chip_png, "chip", person_id, face_id),
                }
            )
            turned = rotate(embedding.vector, self.rotation(embedding.space, len(embedding.vector)))
            stored = StoredVector(face_id, template.template_id, turned)
            vectors.append(self._vector_row(person_id, stored, embedding.space))
        if faces:
            self.connection.execute(FACES.insert(), faces)
            self.connection.execute(VECTORS.insert(), vectors)
        return [face["face_id"] for face in faces]

    def put_vector(self, person_id: str, face_id: str, template_id: str, embedding: Embedding) -> None:
        """Keep where a face lies in a space, turned by the gallery's rotation."""
        turned = rotate(embedding.vector, self.rotation(embedding.space, len(embedding.vector)))
        self.put_turned(person_id, StoredVector(face_id, template_id, turned), embedding.space)

    def put_turned(self, person_id: str, stored: StoredVector, space: str) -> None:
        """Keep a vector that is turned already."""
        self.connection.execute(VECTORS.insert().values(self._vector_row(person_id, stored, space)))

    def replace_turned(self, rows: Sequence[tuple[str, StoredVector]], space: str) -> None:
        """Put turned vectors in the place of all that lie in a space, each with the person under whose key it lies."""
        self.connection.execute(VECTORS.delete().where(VECTORS.c.space == space))
        if rows:
            self.connection.execute(VECTORS.insert(), [self._vector_row(*row, space) for row in rows])

    def _vector_row(self, person_id: str, stored: StoredVector, space: str) -> dict[str, Any]:
        rotation_id = self.rotation_id()
        content = bytes.fromhex(stored.template_id) + stored.vector.astype("<f4").tobytes()
        place = ("vector", person_id, stored.face_id, space, rotation_id)
        sealed = self.vault.person(person_id).close(content, *place)
        return {"face_id": stored.face_id, "space": space, "rotation_id": rotation_id, "vector": sealed}

    def vectors(self, space: str) -> Iterator[tuple[str, StoredVector]]:
        """Everything kept in a space, each with the person under whose key it lies."""
        assert self.names is not None
        query = (
            sa.select(FACES.c.person_id, VECTORS.c.face_id, VECTORS.c.rotation_id, VECTORS.c.vector)
            .join(FACES, FACES.c.face_id == VECTORS.c.face_id)
            .where(VECTORS.c.space == space)
        )
        for person_id, face_id, rotation_id, sealed in self.connection.execute(query):
            content = self.vault.open(
                self.vault.person(person_id), sealed, "vector", person_id, face_id, space, rotation_id
            )
            vector = np.frombuffer(content, "<f4", offset=_DIGEST_BYTES)
            yield person_id, StoredVector(face_id, content[:_DIGEST_BYTES].hex(), vector)

    def facts(self) -> dict[str, tuple[str, float]]:
        """Face id to template id and quality, of every face."""
        assert self.names is not None
        query = sa.select(FACES.c.face_id, FACES.c.person_id, FACES.c.facts)
        found = {}
        for face_id, person_id, sealed in self.connection.execute(query):
            facts = json.loads(self.vault.open(self.vault.person(person_id), sealed, "facts", person_id, face_id))
            found[face_id] = facts["template_id"], facts["quality"]
        return found

    def templates(self, face_ids: Iterable[str], space: str) -> dict[str, Template]:
        """Face id to the whole template, chip and all, of those that have a vector in `space`."""
        wanted = sorted(face_ids)
        found: dict[str, Template] = {}
        for start in range(0, len(wanted), 500):  # databases limit how many values a query may name
            some = wanted[start : start + 500]
            query = (
                sa.select(FACES, VECTORS.c.rotation_id, VECTORS.c.vector)
                .join(VECTORS, FACES.c.face_id == VECTORS.c.face_id)
                .where(VECTORS.c.space == space, FACES.c.face_id.in_(some))
            )
            for row in self.connection.execute(query):
                found[row.face_id] = self._template(row, space)
        return found

    def rotation(self, space: str, dimension: int) -> NDArray[np.float64]:
        """(D, D): the gallery's rotation of a space."""
        place = self.rotation_id(), space, dimension
        if place not in self._rotations:
            secret = self.vault.secret(_ROTATION + place[0])
            assert secret is not None
            self._rotations[place] = make_rotation(secret, space=space, dimension=dimension)
        return self._rotations[place]

    def rotation_id(self) -> str:
        """Names the rotation in force; the first one is made on first use."""
        if self._rotation_id is None:
            self._rotation_id = read_state(self.connection, "rotation") or self.new_rotation()
        return self._rotation_id

    def new_rotation(self) -> str:
        """Put a new rotation in force; gives its id."""
        rotation_id = secrets.token_hex(8)
        self.vault.make_secret(_ROTATION + rotation_id)
        write_state(self.connection, "rotation", rotation_id)
        self._rotation_id = rotation_id
        return rotation_id

    def chip(self, person_id: str, face_id: str) -> tuple[bytes, NDArray[np.float32]]:
        """A face crop as PNG, and its landmarks."""
        row = self.connection.execute(sa.select(FACES).where(FACES.c.face_id == face_id)).one()
        seal = self.vault.person(person_id)
        facts = json.loads(self.vault.open(seal, row.facts, "facts", person_id, face_id))
        landmarks = np.array(facts["landmarks_px"], np.float32)
        return self.vault.open(seal, row.chip, "chip", person_id, face_id), landmarks

    def _template(self, row: sa.Row[tuple[object, ...]], space: str) -> Template:
        person_id, face_id = str(row.person_id), str(row.face_id)
        seal = self.vault.person(person_id)
        facts = json.loads(self.vault.open(seal, row.facts, "facts", person_id, face_id))
        place = ("vector", person_id, face_id, space, str(row.rotation_id))
        turned = np.frombuffer(self.vault.open(seal, row.vector, *place), "<f4", offset=_DIGEST_BYTES)
        owner = self.standing.enrolled.get(face_id) or self.standing.denied.get(face_id) or person_id
        return Template(
            subject_id=self.names[owner],
            embedding=Embedding(rotate(turned, self.rotation(space, len(turned)).T), space),
            quality=facts["quality"],
            chip_png=self.vault.open(seal, row.chip, "chip", person_id, face_id),
            landmarks_px=np.array(facts["landmarks_px"], np.float32),
            source_sha256=facts["source_sha256"],
            template_id=facts["template_id"],
        )


def _edit_place(number: int, person_id: str, other_person_id: str | None) -> tuple[str, ...]:
    return "edit", str(number), person_id, other_person_id or ""
