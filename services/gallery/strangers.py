"""Strangers: people nobody has named, known again by a pseudonym for as long as they may be remembered.

They lie in a gallery of their own, sealed like every other one: nobody is ever matched with it, the enrolled are not
touched by it, and deleting its file forgets all of them. Each is under a pseudonym, with consent in the place of which
stands how long they are remembered: a person seen again stays that much longer, a person past it is erased.
"""

import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from services.contracts.errors import BadInput
from services.gallery.duplicates import refuse_duplicates
from services.gallery.edits import Consent
from services.gallery.erasure import erase_people
from services.gallery.schema import flush_log, write_state
from services.gallery.session import Session
from services.gallery.snapshot import Snapshot, take_snapshot
from services.gallery.store import Gallery
from services.gallery.template import Template

PSEUDONYM = re.compile(r"unknown-[0-9a-f]{8}")
# As many faces as the shipped threshold was calibrated with; one more each time they are seen, up to the most.
_FACES_AT_FIRST, _MOST_FACES = 3, 5
# Each renewal is an entry in the log of edits: one a day will do.
_RENEWED_AFTER = timedelta(days=1)
_BASIS = "seen, not named"


@dataclass(frozen=True, slots=True, eq=False)
class SeenTrack:
    """Somebody unknown, followed through a clip.

    Attributes:
        track_id: Of the clip.
        start_seconds: In view from here.
        end_seconds: To here.
        vector: (D,) unit, their faces pooled.
        faces: The same, one by one; of no name yet.
    """

    track_id: str
    start_seconds: float
    end_seconds: float
    vector: NDArray[np.float32]
    faces: tuple[Template, ...]


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody nobody has named, for a list.

    Attributes:
        pseudonym: What they are called.
        faces: How many of theirs are kept.
        first_seen: When this machine first met them.
        expires_at: When they are forgotten unless they are seen again.
        alike: Cosine of the two faces least alike; None of a single one. Low, two people may share the pseudonym.
    """

    pseudonym: str
    faces: int
    first_seen: datetime
    expires_at: datetime
    alike: float | None


def meet(
    strangers: Gallery,
    tracks: Sequence[SeenTrack],
    *,
    similarity_among: Callable[[int], float],
    keep: timedelta,
    now: datetime | None = None,
) -> dict[str, str]:
    """Give everybody in a clip the pseudonym of whoever they are, a new one to whom nobody here has met.

    Two tracks that are in view at once are two people, however alike.

    Args:
        strangers: Where they are remembered.
        tracks: Of one clip.
        similarity_among: From which similarity somebody is taken for one of so many.
        keep: How long they are remembered.
        now: The present when None.

    Returns:
        Track id to pseudonym.

    Raises:
        BadInput: The faces are in another embedding space than those remembered.
    """
    now = now or datetime.now(UTC)
    if not tracks:
        return {}
    space = tracks[0].faces[0].embedding.space
    with strangers.write() as session:
        _forget_expired(session, now)
        strangers.claim_space(session, space)
        snapshot = take_snapshot(session, space, now=now)
        called = _tell_apart(tracks, snapshot, similarity_among(len(snapshot.names)))
        counts = _count_faces(session)
        for track in tracks:
            pseudonym = called[track.track_id]
            person_id = session.find_person(pseudonym) or session.add_person(pseudonym)
            held = counts.get(person_id, 0)
            wanted = _FACES_AT_FIRST if held == 0 else min(1, _MOST_FACES - held)
            best = sorted(track.faces, key=lambda face: -face.quality)[: max(wanted, 0)]
            if best:
                named = [replace(face, subject_id=pseudonym, template_id="") for face in best]
                session.add_edit("enrol", person_id, face_ids=session.add_faces(person_id, named))
                counts[person_id] = held + len(best)
            _remember_until(session, person_id, now + keep)
    flush_log(strangers.engine)
    return called


def list_strangers(strangers: Gallery, *, now: datetime | None = None) -> list[Stranger]:
    """Everybody remembered, by when they were first seen."""
    now = now or datetime.now(UTC)
    found = []
    with strangers.read() as session:
        standing = session.standing
        first = {stored.person_id: stored.edit.at for stored in reversed(session.edits())}
        lying: dict[str, list[NDArray[np.float32]]] = {}
        for _, stored_vector in session.vectors(session.space or ""):
            if (owner := standing.enrolled.get(stored_vector.face_id)) is not None:
                lying.setdefault(owner, []).append(stored_vector.vector)
        for person_id, vectors in lying.items():
            consent = standing.consents.get(person_id)
            if consent is None or consent.expires_at is None or consent.expired(now):
                continue
            rows = np.stack(vectors)
            alike = round(float((rows @ rows.T).min()), 4) if len(rows) > 1 else None
            found.append(Stranger(session.names[person_id], len(rows), first[person_id], consent.expires_at, alike))
    return sorted(found, key=lambda each: (each.first_seen, each.pseudonym))


def name_stranger(
    gallery: Gallery,
    strangers: Gallery,
    pseudonym: str,
    subject_id: str,
    *,
    consent: Consent | None = None,
    duplicate_similarity: float | None = None,
) -> int:
    """Enrol what is remembered of a stranger as a subject; from now on their past is the subject's.

    One edit of the gallery, so `undo` takes both back. The stranger stays remembered until their time is over.

    Args:
        gallery: Of subjects.
        strangers: Where the stranger is.
        pseudonym: Theirs.
        subject_id: Somebody new, or somebody enrolled already.
        consent: Why they may be recognised, and until when.
        duplicate_similarity: A face this near to somebody else's is refused; None asks nobody.

    Returns:
        How many faces were enrolled.

    Raises:
        BadInput: Nobody of that pseudonym is remembered, they are named already, or show somebody else.
    """
    faces = [replace(face, subject_id=subject_id, template_id="") for face in _faces_of(strangers, pseudonym)]
    with gallery.write() as session:
        if (known := session.standing.pseudonyms.get(pseudonym)) is not None:
            raise BadInput(f"{pseudonym} is named {session.names[known]!r} already: see `whodid gallery edits`, undo")
        gallery.claim_space(session, faces[0].embedding.space)
        person_id = session.find_person(subject_id) or session.add_person(subject_id)
        if duplicate_similarity is not None:
            present = take_snapshot(session, session.space or "", now=datetime.now(UTC))
            refuse_duplicates(present, {session.names[person_id]: faces}, duplicate_similarity)
        face_ids = session.add_faces(person_id, faces)
        session.add_edit("name", person_id, face_ids=face_ids, pseudonym=pseudonym, remark=pseudonym)
        if consent is not None:
            session.add_edit("consent", person_id, consent=consent)
    return len(faces)


def read_names(gallery: Gallery) -> dict[str, str]:
    """Pseudonym to the subject that stranger turned out to be."""
    with gallery.read() as session:
        pseudonyms = session.standing.pseudonyms
        return {pseudonym: session.names[person_id] for pseudonym, person_id in pseudonyms.items()}


def also_called(who: str | None, names: Mapping[str, str]) -> tuple[str, ...]:
    """The pseudonyms that stand for a subject, or for itself when a pseudonym is asked after.

    Args:
        who: A subject or a pseudonym.
        names: Of those who were named since, as `read_names` gives them.
    """
    if who is None:
        return ()
    return tuple(sorted(name for name, subject in names.items() if subject == who)) + (
        (who,) if PSEUDONYM.fullmatch(who) else ()
    )


def erase_strangers(strangers: Gallery, pseudonyms: Collection[str]) -> int:
    """Erase people by their pseudonyms, and everybody whose time is over; gives how many faces went."""
    if not strangers.exists:
        return 0
    with strangers.write() as session:
        erased = _forget_expired(session, datetime.now(UTC))
        known = {person_id for name in pseudonyms if (person_id := session.find_person(name)) is not None}
        erased += erase_people(session, known)
        _release_space(session)
    flush_log(strangers.engine)
    return erased


def erase_sources(strangers: Gallery, clip_ids: Collection[str]) -> int:
    """Erase the faces that were cut from these clips, and everybody whose time is over; gives how many faces went."""
    if not strangers.exists:
        return 0
    with strangers.write() as session:
        erased = _forget_expired(session, datetime.now(UTC))
        standing, space = session.standing, session.space or ""
        templates = session.templates(standing.enrolled, space)
        consents = dict(standing.consents)
        touched = {standing.enrolled[face] for face, each in templates.items() if each.source_sha256 in clip_ids}
        for person_id in sorted(touched):
            own = [each for face, each in templates.items() if standing.enrolled[face] == person_id]
            kept = [each for each in own if each.source_sha256 not in clip_ids]
            erased += erase_people(session, {person_id}) - len(kept)
            if kept:
                again = session.add_person(kept[0].subject_id)
                session.add_edit("enrol", again, face_ids=session.add_faces(again, kept))
                session.add_edit("consent", again, consent=consents[person_id])
        _release_space(session)
    flush_log(strangers.engine)
    return erased


def _tell_apart(tracks: Sequence[SeenTrack], known: Snapshot, similarity: float) -> dict[str, str]:
    """Track id to pseudonym: of the nearest stranger near enough who is not in view elsewhere, else a new one."""
    nearest = known.similarities(np.stack([track.vector for track in tracks]))
    pairs = [
        (float(nearest[row, column]), track, known.names[column])
        for row, track in enumerate(tracks)
        for column in np.flatnonzero(nearest[row] >= similarity)
    ]
    called: dict[str, str] = {}
    wearing: dict[str, list[SeenTrack]] = {}

    def call(track: SeenTrack, pseudonym: str) -> None:
        called[track.track_id] = pseudonym
        wearing.setdefault(pseudonym, []).append(track)

    for _, track, pseudonym in sorted(pairs, key=lambda pair: (-pair[0], pair[1].track_id, pair[2])):
        if track.track_id not in called and not _in_view_with(track, wearing.get(pseudonym, ())):
            call(track, pseudonym)
    for track in tracks:
        if track.track_id in called:
            continue
        near = {
            pseudonym: max(float(track.vector @ other.vector) for other in others)
            for pseudonym, others in wearing.items()
            if pseudonym not in known.names and not _in_view_with(track, others)
        }
        best = max(near, key=lambda pseudonym: near[pseudonym], default=None)
        is_known = best is not None and near[best] >= similarity
        call(track, best if best is not None and is_known else f"unknown-{secrets.token_hex(4)}")
    return called


def _in_view_with(track: SeenTrack, others: Sequence[SeenTrack]) -> bool:
    return any(track.start_seconds < other.end_seconds and other.start_seconds < track.end_seconds for other in others)


def _faces_of(strangers: Gallery, pseudonym: str) -> list[Template]:
    now = datetime.now(UTC)
    with strangers.read() as session:
        standing, person_id = session.standing, session.find_person(pseudonym)
        consent = None if person_id is None else standing.consents.get(person_id)
        if person_id is None or consent is None or consent.expired(now):
            raise BadInput(
                f"nobody called {pseudonym!r} is remembered (`whodid gallery strangers`): enrol a picture, then "
                "`whodid events --face PICTURE` finds where else they were seen"
            )
        owned = [face for face, owner in standing.enrolled.items() if owner == person_id]
        return list(session.templates(owned, session.space or "").values())


def _count_faces(session: Session) -> dict[str, int]:
    counts: dict[str, int] = {}
    for owner in session.standing.enrolled.values():
        counts[owner] = counts.get(owner, 0) + 1
    return counts


def _remember_until(session: Session, person_id: str, end: datetime) -> None:
    held = session.standing.consents.get(person_id)
    if held is None or held.expires_at is None or end - held.expires_at >= _RENEWED_AFTER:
        session.add_edit("consent", person_id, consent=Consent(basis=_BASIS, expires_at=end))


def _forget_expired(session: Session, now: datetime) -> int:
    consents: Mapping[str, Consent] = session.standing.consents
    gone = {person_id for person_id, consent in consents.items() if consent.expired(now)}
    erased = erase_people(session, gone) if gone else 0
    _release_space(session)
    return erased


def _release_space(session: Session) -> None:
    """Once nobody is left, faces of any space may come."""
    if not session.standing.enrolled:
        write_state(session.connection, "space", None)
