"""Migration: the kept face crops embedded again, into another space, while the gallery goes on answering.

Until every face is there the old space answers and the new one is refused; from then on both do, until the old one
is dropped (`finish`) or the gallery goes back (`undo`). Each batch is stored as it is done, so a migration that was
interrupted goes on where it stopped.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from services.contracts.errors import BadInput
from services.gallery.schema import FACES, VECTORS, flush_log, read_state, write_state
from services.gallery.session import Session
from services.gallery.store import Gallery
from services.gallery.template import Embedding
from services.perception.frame import Picture

Embed = Callable[[Sequence[tuple[Picture, NDArray[np.float32]]]], NDArray[np.float32]]
"""Takes face crops with their landmarks, gives (N, D) unit rows."""

_BATCH = 32


def migrate(
    gallery: Gallery, space: str, embed: Embed, *, on_progress: Callable[[int, int], None] | None = None
) -> int:
    """Embed every face that has no vector in `space`, then answer in that space.

    Args:
        gallery: With somebody in it.
        space: Where to.
        embed: Of the model of that space.
        on_progress: Told faces done and in all.

    Returns:
        How many faces were embedded in this run.

    Raises:
        BadInput: A crop cannot be read; what was done until then is kept.
    """
    done = 0
    while True:
        with gallery.read() as session:
            waiting, total = _waiting(session, space), _count_faces(session)
            batch = [(*row, *session.chip(*row)) for row in waiting[:_BATCH]]
        if on_progress is not None:
            on_progress(total - len(waiting), max(total, 1))
        if not batch:
            with gallery.write() as session:
                if not _waiting(session, space):  # nobody was enrolled meanwhile
                    write_state(session.connection, "space", space if total else None)
                    return done
            continue
        vectors = embed([(_decode(face_id, chip), landmarks) for _, face_id, chip, landmarks in batch])
        with gallery.write() as session:
            facts, lying = session.facts(), set(_waiting(session, space))
            for (person_id, face_id, *_), vector in zip(batch, vectors, strict=True):
                if (person_id, face_id) in lying:  # else it was erased, or embedded by another run
                    session.put_vector(person_id, face_id, facts[face_id][0], Embedding(vector, space))
        done += len(batch)


def undo(gallery: Gallery, back_to: str) -> int:
    """Answer in an earlier space again and drop what was embedded since.

    Returns:
        How many vectors were dropped.

    Raises:
        BadInput: A face has no vector there.
    """
    with gallery.write() as session:
        waiting = _waiting(session, back_to)
        if waiting:
            raise BadInput(
                f"{len(waiting)} of {_count_faces(session)} faces have no vector in {back_to!r}: they were enrolled "
                "since, or it was dropped; `whodid gallery migrate --model` the old one instead"
            )
        write_state(session.connection, "space", back_to)
    return finish(gallery)


def finish(gallery: Gallery) -> int:
    """Drop every space but the one the gallery answers in; gives how many vectors went."""
    with gallery.write() as session:
        space = read_state(session.connection, "space")
        dropped = session.connection.execute(VECTORS.delete().where(VECTORS.c.space != space)).rowcount
    flush_log(gallery.engine)
    return int(dropped)


def list_spaces(gallery: Gallery) -> dict[str, int]:
    """Space to how many faces have a vector there."""
    with gallery.read() as session:
        query = sa.select(VECTORS.c.space, sa.func.count()).group_by(VECTORS.c.space).order_by(VECTORS.c.space)
        return {str(row[0]): int(row[1]) for row in session.connection.execute(query)}


def _waiting(session: Session, space: str) -> list[tuple[str, str]]:
    there = sa.select(VECTORS.c.face_id).where(VECTORS.c.space == space)
    query = sa.select(FACES.c.person_id, FACES.c.face_id).where(FACES.c.face_id.not_in(there)).order_by(FACES.c.face_id)
    return [(person_id, face_id) for person_id, face_id in session.connection.execute(query)]


def _count_faces(session: Session) -> int:
    return int(session.connection.execute(sa.select(sa.func.count()).select_from(FACES)).scalar_one())


def _decode(face_id: str, chip: bytes) -> Picture:
    try:
        with Image.open(io.BytesIO(chip)) as image:
            return np.asarray(image.convert("RGB"))
    except UnidentifiedImageError:
        raise BadInput(f"the crop of face {face_id} is no picture: enrol that picture again") from None
