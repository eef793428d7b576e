"""Unknown people: known again, told apart, named, forgotten."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from services.contracts.errors import BadInput
from services.gallery.store import Gallery
from services.gallery.strangers import (
    PSEUDONYM,
    SeenTrack,
    also_called,
    erase_sources,
    erase_strangers,
    list_strangers,
    meet,
    name_stranger,
    read_names,
)
from services.gallery.template import Embedding, Template
from tests.unit.gallery.samples import read_cells

NOW = datetime.now(UTC)
MONTH = timedelta(days=30)
CENTRES = np.random.default_rng(5).normal(size=(6, 16))


def face(who: int, picture: int, *, clip: str = "a" * 64, space: str = "space-a") -> Template:
    vector = CENTRES[who] + 0.1 * np.random.default_rng(100 * who + picture).normal(size=16)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    return Template("", Embedding(unit, space), 0.5 + picture / 100, b"chip", np.zeros((5, 2), np.float32), clip)


def seen(
    track_id: str, who: int, *pictures: int, span: tuple[float, float] = (0, 9), clip: str = "a" * 64
) -> SeenTrack:
    faces = tuple(face(who, picture, clip=clip) for picture in pictures)
    pooled = np.sum([each.embedding.vector for each in faces], axis=0)
    return SeenTrack(track_id, *span, (pooled / np.linalg.norm(pooled)).astype(np.float32), faces)


def met(strangers: Gallery, *tracks: SeenTrack, now: datetime = NOW, similarity: float = 0.8) -> dict[str, str]:
    return meet(strangers, tracks, similarity_among=lambda _: similarity, keep=MONTH, now=now)


@pytest.fixture
def strangers(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "strangers.db")


def pseudonyms(found: Sequence) -> set[str]:
    return {each.pseudonym for each in found}


def test_somebody_unknown_is_called_the_same_in_every_clip_and_others_are_not(strangers: Gallery) -> None:
    first = met(strangers, seen("t1", 0, 1, 2), seen("t2", 1, 1))
    assert len(set(first.values())) == 2
    assert all(PSEUDONYM.fullmatch(each) for each in first.values())
    again = met(strangers, seen("t9", 0, 3), seen("t8", 2, 1))
    assert again["t9"] == first["t1"]
    assert again["t8"] not in first.values()
    # Another process, which has only the file.
    assert met(Gallery(strangers.location), seen("t1", 1, 5))["t1"] == first["t2"]
    assert pseudonyms(list_strangers(strangers)) == {*first.values(), again["t8"]}


def test_a_track_in_pieces_is_one_person_and_two_in_view_at_once_are_two(strangers: Gallery) -> None:
    pieces = met(strangers, seen("t1", 0, 1, span=(0, 4)), seen("t2", 0, 2, span=(5, 9)), seen("t3", 0, 3, span=(3, 6)))
    assert pieces["t1"] == pieces["t2"] != pieces["t3"]
    # Nor may a pseudonym be worn twice at once by people who were met before.
    later = met(strangers, seen("t4", 0, 4, span=(0, 9)), seen("t5", 0, 5, span=(0, 9)))
    assert later["t4"] != later["t5"]


def test_below_the_similarity_asked_for_among_so_many_nobody_is_known_again(strangers: Gallery) -> None:
    asked = []

    def strict(count: int) -> float:
        asked.append(count)
        return 1.0

    first = met(strangers, seen("t1", 0, 1), seen("t2", 1, 1))
    again = meet(strangers, [seen("t1", 0, 2)], similarity_among=strict, keep=MONTH, now=NOW)
    assert again["t1"] not in first.values()
    assert asked == [2]


def test_who_is_not_seen_again_in_time_is_erased_and_who_is_stays_longer(strangers: Gallery, tmp_path: Path) -> None:
    first = met(strangers, seen("t1", 0, 1), seen("t2", 1, 1))
    met(strangers, seen("t1", 0, 2), now=NOW + timedelta(days=20))
    later = met(strangers, seen("t1", 0, 3), seen("t2", 1, 3), now=NOW + timedelta(days=40))
    assert later["t1"] == first["t1"]
    assert later["t2"] != first["t2"]
    with strangers.read() as session:
        assert session.find_person(first["t2"]) is None
    assert list_strangers(strangers, now=NOW + timedelta(days=90)) == []


def test_what_is_kept_of_strangers_is_sealed_little_and_matched_with_nobody(strangers: Gallery, tmp_path: Path) -> None:
    for picture in range(1, 12):
        (called,) = met(strangers, seen("t1", 0, picture)).values()
    (known,) = list_strangers(strangers)
    assert known.faces == 5
    assert 0.7 < (known.alike or 0) < 1
    cells = read_cells(tmp_path / "strangers.db")
    vectors = [face(0, picture).embedding.vector.tobytes() for picture in range(1, 12)]
    assert not [cell for cell in cells for hidden in [b"chip", called.encode(), *vectors] if hidden in cell]
    assert (tmp_path / "strangers.db").stat().st_mode & 0o777 == 0o600


def test_a_stranger_named_is_enrolled_with_their_past_and_undo_takes_both_back(
    strangers: Gallery, tmp_path: Path
) -> None:
    gallery = Gallery(tmp_path / "gallery.db")
    (called,) = met(strangers, seen("t1", 0, 1, 2, 3)).values()
    before = gallery.snapshot("space-a").reference
    assert name_stranger(gallery, strangers, called, "bo") == 3
    assert read_names(gallery) == {called: "bo"}
    assert also_called("bo", read_names(gallery)) == (called,)
    assert gallery.snapshot("space-a").names == ("bo",)
    with pytest.raises(BadInput, match=f"{called} is named 'bo' already"):
        name_stranger(gallery, strangers, called, "eve")
    (edit,) = gallery.list_edits()
    assert (edit.kind, edit.remark) == ("name", called)
    gallery.undo()
    assert read_names(gallery) == {}
    assert gallery.snapshot("space-a").reference == before
    assert pseudonyms(list_strangers(strangers)) == {called}  # nothing was destroyed
    gallery.undo(2)  # of the undoing
    assert read_names(gallery) == {called: "bo"}


def test_the_past_follows_a_merge_and_goes_with_the_subject(strangers: Gallery, tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery.db")
    called = met(strangers, seen("t1", 0, 1), seen("t2", 1, 1))
    name_stranger(gallery, strangers, called["t1"], "bo")
    name_stranger(gallery, strangers, called["t2"], "robert")
    gallery.merge("robert", "bo")
    assert also_called("bo", read_names(gallery)) == tuple(sorted(called.values()))
    gallery.remove("bo")
    assert read_names(gallery) == {}


def test_who_is_enrolled_under_another_name_is_not_named_again(strangers: Gallery, tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery.db")
    called = met(strangers, seen("t1", 0, 1), seen("t2", 0, 2))
    name_stranger(gallery, strangers, called["t1"], "bo", duplicate_similarity=0.8)
    with pytest.raises(BadInput, match="already enrolled as 'bo'"):
        name_stranger(gallery, strangers, called["t2"], "eve", duplicate_similarity=0.8)
    assert name_stranger(gallery, strangers, called["t2"], "bo", duplicate_similarity=0.8) == 1
    with pytest.raises(BadInput, match=r"nobody called 'unknown-00000000' is remembered.*--face"):
        name_stranger(gallery, strangers, "unknown-00000000", "eve")


def test_erased_strangers_are_gone_and_the_others_are_known_as_before(strangers: Gallery) -> None:
    called = met(strangers, seen("t1", 0, 1), seen("t2", 1, 1))
    assert erase_strangers(strangers, [called["t1"], "unknown-00000000"]) == 1
    assert pseudonyms(list_strangers(strangers)) == {called["t2"]}
    assert met(strangers, seen("t2", 1, 2))["t2"] == called["t2"]


def test_faces_from_a_purged_clip_go_and_those_from_others_stay(strangers: Gallery) -> None:
    called = met(strangers, seen("t1", 0, 1, 2, clip="b" * 64), seen("t2", 1, 1, clip="b" * 64))
    met(strangers, seen("t1", 0, 3, clip="c" * 64))
    assert erase_sources(strangers, {"b" * 64}) == 3
    (left,) = list_strangers(strangers)
    assert (left.pseudonym, left.faces) == (called["t1"], 1)
    assert met(strangers, seen("t9", 0, 4, clip="d" * 64))["t9"] == called["t1"]
    assert erase_sources(strangers, {"c" * 64, "d" * 64}) == 2
    # Nobody is left: faces of another model may come.
    assert meet(
        strangers,
        [SeenTrack("t1", 0, 1, face(0, 1).embedding.vector, (face(0, 1, space="space-b"),))],
        similarity_among=lambda _: 0.8,
        keep=MONTH,
    )


def test_faces_of_another_model_are_refused_with_the_remedy(strangers: Gallery) -> None:
    met(strangers, seen("t1", 0, 1))
    other = SeenTrack("t1", 0, 1, face(0, 1).embedding.vector, (face(0, 1, space="space-b"),))
    with pytest.raises(BadInput, match="gallery migrate"):
        met(strangers, other)
