"""The gallery on disk: SQLite by default, any SQLAlchemy url otherwise.

Biometric data: the file is readable by its owner alone, and what is deleted is overwritten.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from services.contracts.errors import BadInput
from services.contracts.identity import GalleryRef
from services.gallery.template import Embedding, Template

_METADATA = sa.MetaData()
_SPACE = sa.Table("space", _METADATA, sa.Column("name", sa.String, primary_key=True))
_TEMPLATES = sa.Table(
    "templates",
    _METADATA,
    sa.Column("template_id", sa.String, primary_key=True),
    sa.Column("subject_id", sa.String, nullable=False, index=True),
    sa.Column("vector", sa.LargeBinary, nullable=False),
    sa.Column("quality", sa.Float, nullable=False),
    sa.Column("chip_png", sa.LargeBinary, nullable=False),
    sa.Column("landmarks_px", sa.LargeBinary, nullable=False),
    sa.Column("source_sha256", sa.String, nullable=False),
)


@dataclass(frozen=True, slots=True)
class SubjectSummary:
    """One enrolled subject, for a list."""

    subject_id: str
    templates: int
    best_quality: float


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The gallery at one moment, in memory, ready to search.

    Attributes:
        reference: Names this exact state.
        subject_ids: (N,) whose template each row is.
        vectors: (N, D) float32, unit rows.
    """

    reference: GalleryRef
    subject_ids: tuple[str, ...]
    vectors: NDArray[np.float32]


class Gallery:
    """Enrolled subjects. One gallery holds one embedding space; another is refused.

    Args:
        location: Path of a SQLite file (made at the first enrolment), or a SQLAlchemy url.
    """

    def __init__(self, location: str | Path) -> None:
        self._path = None if "://" in str(location) else Path(location)
        self._location = str(location)
        self._engine = sa.create_engine(str(location) if self._path is None else f"sqlite:///{location}")
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _configure_sqlite)

    def enrol(self, templates: Iterable[Template]) -> int:
        """Add templates; those already there are left as they are.

        Returns:
            How many were new.

        Raises:
            BadInput: A template lies in another embedding space than the gallery's.
        """
        self._create()
        added = 0
        with self._engine.begin() as connection:
            for template in templates:
                self._claim_space(connection, template.embedding.space)
                known = sa.select(_TEMPLATES.c.template_id).where(_TEMPLATES.c.template_id == template.template_id)
                if connection.execute(known).first() is None:
                    connection.execute(_TEMPLATES.insert().values(**_row(template)))
                    added += 1
        return added

    def remove(self, subject_id: str) -> int:
        """Erase a subject's templates and chips.

        Returns:
            How many templates were erased.

        Raises:
            BadInput: Nobody of that name is enrolled.
        """
        with self._open() as connection:
            erased = connection.execute(_TEMPLATES.delete().where(_TEMPLATES.c.subject_id == subject_id)).rowcount
            if connection.execute(sa.select(_TEMPLATES.c.template_id).limit(1)).first() is None:
                connection.execute(_SPACE.delete())  # an empty gallery may be enrolled into with any model
        if erased and self._engine.dialect.name == "sqlite":
            with self._engine.connect() as connection:
                connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))  # the log held the rows too
        if erased == 0:
            raise BadInput(f"no subject {subject_id!r} in gallery {self._location}: see `whodid gallery list`")
        return erased

    def list_subjects(self) -> list[SubjectSummary]:
        """Everyone enrolled, by name."""
        columns = _TEMPLATES.c
        query = (
            sa.select(columns.subject_id, sa.func.count(), sa.func.max(columns.quality))
            .group_by(columns.subject_id)
            .order_by(columns.subject_id)
        )
        with self._open() as connection:
            return [SubjectSummary(name, count, quality) for name, count, quality in connection.execute(query)]

    def read_templates(self, subject_id: str | None = None) -> list[Template]:
        """All templates, or one subject's, by id.

        Raises:
            BadInput: A subject was named whom nobody enrolled.
        """
        query = sa.select(_TEMPLATES).order_by(_TEMPLATES.c.template_id)
        if subject_id is not None:
            query = query.where(_TEMPLATES.c.subject_id == subject_id)
        with self._open() as connection:
            space = connection.execute(sa.select(_SPACE.c.name)).scalar()
            templates = [_template(row, str(space)) for row in connection.execute(query)]
        if subject_id is not None and not templates:
            raise BadInput(f"no subject {subject_id!r} in gallery {self._location}: see `whodid gallery list`")
        return templates

    def snapshot(self, space: str) -> Snapshot:
        """Everything needed to search, with the digest that names this state.

        Args:
            space: The embedding space of the faces to be searched for.

        Raises:
            BadInput: The gallery lies in another space.
        """
        templates = self.read_templates()
        if templates and templates[0].embedding.space != space:
            raise BadInput(
                f"gallery {self._location} holds embeddings of {templates[0].embedding.space!r}, the model "
                f"gives {space!r}: enrol its subjects again, or load the model it was enrolled with"
            )
        digest = hashlib.sha256(space.encode())
        for template in templates:
            digest.update(bytes.fromhex(template.template_id))
        subjects = tuple(template.subject_id for template in templates)
        reference = GalleryRef(sha256=digest.hexdigest(), embedding_space=space, subjects=len(set(subjects)))
        vectors = np.stack([template.embedding.vector for template in templates]) if templates else np.empty((0, 0))
        return Snapshot(reference, subjects, vectors.astype(np.float32))

    def _create(self) -> None:
        if self._path is not None and not self._path.exists():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        _METADATA.create_all(self._engine)

    @contextmanager
    def _open(self) -> Iterator[sa.Connection]:
        """A transaction on what is there; a gallery nobody has made yet is an empty one."""
        if self._path is not None and not self._path.exists():
            with sa.create_engine("sqlite://").begin() as connection:
                _METADATA.create_all(connection)
                yield connection
            return
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.DatabaseError as error:
            raise BadInput(f"{self._location} is not a readable gallery: {error.orig}") from error

    def _claim_space(self, connection: sa.Connection, space: str) -> None:
        held = connection.execute(sa.select(_SPACE.c.name)).scalar()
        if held is None:
            connection.execute(_SPACE.insert().values(name=space))
        elif held != space:
            raise BadInput(
                f"gallery {self._location} holds embeddings of {held!r}, this face has {space!r}: "
                "enrol into a new gallery, or load the model this one was enrolled with"
            )


def _configure_sqlite(connection: object, _record: object) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]  # SQLAlchemy types the DBAPI connection as object
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _row(template: Template) -> dict[str, object]:
    return {
        "template_id": template.template_id,
        "subject_id": template.subject_id,
        "vector": template.embedding.vector.astype("<f4").tobytes(),
        "quality": template.quality,
        "chip_png": template.chip_png,
        "landmarks_px": template.landmarks_px.astype("<f4").tobytes(),
        "source_sha256": template.source_sha256,
    }


def _template(row: sa.Row[tuple[object, ...]], space: str) -> Template:
    return Template(
        subject_id=row.subject_id,
        embedding=Embedding(np.frombuffer(row.vector, "<f4"), space),
        quality=row.quality,
        chip_png=row.chip_png,
        landmarks_px=np.frombuffer(row.landmarks_px, "<f4").reshape(5, 2),
        source_sha256=row.source_sha256,
    )
