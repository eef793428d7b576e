"""Snapshot: a gallery at one moment, in memory, ready to search."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import IdentificationCalibration
from services.contracts.errors import BadInput
from services.contracts.identity import GalleryRef
from services.gallery.growth import StrangerTail
from services.gallery.protection import rotate
from services.gallery.schema import read_state
from services.gallery.session import Session

# Bounds memory: a cosine for each of these and each template is held at a time.
_PROBES_AT_ONCE = 32


class Ranked(NamedTuple):
    """A subject and the cosine to their nearest template."""

    subject_id: str
    similarity: float


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The gallery at one moment.

    Attributes:
        reference: Names this exact state.
        subject_ids: (N,) whose template each row is; rows of one subject stand together.
        vectors: (N, D) float32, unit rows, turned by `rotation`.
        rotation: (D, D) orthogonal; None where the rows are plain embeddings.
        denied_subject_ids: (M,) who each row of `denied_vectors` was said not to be.
        denied_vectors: (M, D) float32, unit rows, turned alike.
        calibration: Of this gallery; None where the embedder's own holds.
        tail: Measured with that calibration; None where it was not.
    """

    reference: GalleryRef
    subject_ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    rotation: NDArray[np.float64] | None = None
    denied_subject_ids: tuple[str, ...] = ()
    denied_vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    calibration: IdentificationCalibration | None = None
    tail: StrangerTail | None = None
    names: tuple[str, ...] = field(init=False)
    _starts: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        starts = [k for k, name in enumerate(self.subject_ids) if k == 0 or name != self.subject_ids[k - 1]]
        names = tuple(self.subject_ids[k] for k in starts)
        if len(set(names)) != len(names):
            raise ValueError("snapshot: rows of one subject stand apart; sort them by subject")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "_starts", np.array(starts, np.intp))

    def similarities(self, probes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosine of every probe to every subject's nearest template.

        A subject does not count where a face that was said not to be theirs lies nearer: -inf stands there.

        Args:
            probes: (P, D) unit rows, as the embedder gave them.

        Returns:
            (P, S) float32, in the order of `names`.
        """
        if not self.names:
            return np.empty((len(probes), 0), np.float32)
        turned = probes if self.rotation is None else rotate(probes, self.rotation)
        nearest = np.empty((len(turned), len(self.names)), np.float32)
        for at in range(0, len(turned), _PROBES_AT_ONCE):
            to_rows = turned[at : at + _PROBES_AT_ONCE] @ self.vectors.T
            nearest[at : at + _PROBES_AT_ONCE] = np.maximum.reduceat(to_rows, self._starts, axis=1)
        if self.denied_subject_ids:
            index = {name: k for k, name in enumerate(self.names)}
            to_denied = turned @ self.denied_vectors.T
            for column, name in enumerate(self.denied_subject_ids):
                if name in index:
                    scores = nearest[:, index[name]]
                    scores[to_denied[:, column] >= scores] = -np.inf
        return nearest

    def rank(self, similarities: NDArray[np.float32]) -> list[Ranked]:
        """The two nearest subjects of one row of `similarities`, nearest first; ties by name."""
        count = min(2, len(similarities))
        if count == 0:
            return []
        # Everyone at or above the second place, so that a tie is settled by name and not by position.
        floor = np.partition(similarities, -count)[-count]
        leading = [
            Ranked(self.names[k], min(max(float(similarities[k]), -1.0), 1.0))
            for k in np.flatnonzero(similarities >= floor)
            if np.isfinite(similarities[k])
        ]
        return sorted(leading, key=lambda each: (-each.similarity, each.subject_id))[:2]


def take_snapshot(session: Session, space: str, *, now: datetime) -> Snapshot:
    """Read everything needed to search out of a gallery.

    Args:
        session: An open transaction.
        space: The embedding space of the faces to be searched for.
        now: Whose consent has run out by then is left out.

    Raises:
        BadInput: The gallery does not lie in that space, or not whole.
    """
    standing, names = session.standing, session.names
    gone = {person for person, consent in standing.consents.items() if consent.expired(now)}
    enrolled: list[tuple[str, str, NDArray[np.float32]]] = []
    denied: list[tuple[str, str, NDArray[np.float32]]] = []
    missing = set(standing.enrolled)
    for _, stored in session.vectors(space):
        missing.discard(stored.face_id)
        owner, other_than = standing.enrolled.get(stored.face_id), standing.denied.get(stored.face_id)
        if owner is not None and owner not in gone:
            enrolled.append((names[owner], stored.template_id, stored.vector))
        elif other_than is not None and other_than not in gone:
            denied.append((names[other_than], stored.template_id, stored.vector))
    if missing:
        raise _not_there(session, space, held=len(standing.enrolled) - len(missing), wanted=len(standing.enrolled))
    digest = hashlib.sha256(space.encode())
    for kind, rows in ((b"is", enrolled), (b"not", denied)):
        rows.sort(key=lambda row: row[:2])
        for name, template_id, _ in rows:
            digest.update(kind + hashlib.sha256(name.encode()).digest() + bytes.fromhex(template_id))
    vectors, calibration, tail = _stack(enrolled), read_calibration(session), read_tail(session)
    return Snapshot(
        GalleryRef(sha256=digest.hexdigest(), embedding_space=space, subjects=len({row[0] for row in enrolled})),
        tuple(row[0] for row in enrolled),
        vectors,
        session.rotation(space, vectors.shape[1]) if enrolled else None,
        tuple(row[0] for row in denied),
        _stack(denied),
        calibration if calibration is not None and calibration.space == space else None,
        tail if tail is not None and tail.space == space else None,
    )


def read_calibration(session: Session) -> IdentificationCalibration | None:
    """The gallery's own, where it has one."""
    kept = read_state(session.connection, "calibration")
    return None if kept is None else IdentificationCalibration.model_validate_json(kept)


def read_tail(session: Session) -> StrangerTail | None:
    """How near strangers came when it was calibrated, where that was kept."""
    kept = read_state(session.connection, "tail")
    return None if kept is None else StrangerTail.model_validate_json(kept)


def _stack(rows: list[tuple[str, str, NDArray[np.float32]]]) -> NDArray[np.float32]:
    return np.stack([row[2] for row in rows]) if rows else np.empty((0, 0), np.float32)


def _not_there(session: Session, space: str, *, held: int, wanted: int) -> BadInput:
    location = session.vault.location
    if held:
        return BadInput(
            f"gallery {location} has {held} of {wanted} templates in {space!r}: finish with "
            "`whodid gallery migrate`, or load the model it was enrolled with"
        )
    return BadInput(
        f"gallery {location} holds embeddings of {session.space!r}, the model gives {space!r}: "
        "`whodid gallery migrate` (it embeds the kept face crops anew), or load the model it was enrolled with"
    )
