import stat
from pathlib import Path

import numpy as np
import pytest

from services.contracts.errors import BadInput
from services.gallery.store import Gallery
from services.gallery.template import Embedding, Template


def make_template(subject_id: str, seed: int, space: str = "space-a") -> Template:
    rng = np.random.default_rng(seed)
    vector = rng.normal(size=8).astype(np.float32)
    return Template(
        subject_id=subject_id,
        embedding=Embedding(vector / np.linalg.norm(vector), space),
        quality=0.5 + seed / 100,
        chip_png=f"chip of {subject_id} {seed}".encode(),
        landmarks_px=rng.random((5, 2)).astype(np.float32),
        source_sha256="0" * 64,
    )


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery.db")


def test_what_is_enrolled_is_read_back(gallery: Gallery) -> None:
    template = make_template("ada", 1)
    assert gallery.enrol([template]) == 1
    (read,) = gallery.read_templates("ada")
    assert np.array_equal(read.embedding.vector, template.embedding.vector)
    assert np.array_equal(read.landmarks_px, template.landmarks_px)
    assert (read.chip_png, read.quality) == (template.chip_png, template.quality)


def test_the_same_picture_twice_is_one_template(gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)])
    assert gallery.enrol([make_template("ada", 1), make_template("ada", 2)]) == 1
    assert [(s.subject_id, s.templates) for s in gallery.list_subjects()] == [("ada", 2)]


def test_another_embedding_space_is_refused_and_adds_nothing(gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)])
    with pytest.raises(BadInput, match=r"'space-a'.*'space-b'"):
        gallery.enrol([make_template("bo", 2), make_template("bo", 3, space="space-b")])
    assert [s.subject_id for s in gallery.list_subjects()] == ["ada"]
    with pytest.raises(BadInput, match="enrol its subjects again"):
        gallery.snapshot("space-b")


def test_a_missing_gallery_is_empty_and_is_not_made_by_looking(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "none.db")
    assert gallery.list_subjects() == []
    assert gallery.snapshot("space-a").subject_ids == ()
    assert list(tmp_path.iterdir()) == []


def test_the_digest_names_the_content_and_not_the_order(tmp_path: Path) -> None:
    templates = [make_template("ada", 1), make_template("bo", 2)]
    one, other = Gallery(tmp_path / "one.db"), Gallery(tmp_path / "other.db")
    one.enrol(templates)
    other.enrol(templates[::-1])
    assert one.snapshot("space-a").reference == other.snapshot("space-a").reference
    other.enrol([make_template("cy", 3)])
    assert one.snapshot("space-a").reference != other.snapshot("space-a").reference


def test_removal_leaves_no_byte_of_the_subject(tmp_path: Path, gallery: Gallery) -> None:
    gallery.enrol([make_template("ada-the-only", 1), make_template("bo", 2)])
    assert gallery.remove("ada-the-only") == 1
    remains = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"ada-the-only" not in remains
    assert b"chip of bo" in remains
    with pytest.raises(BadInput, match="no subject 'ada-the-only'"):
        gallery.remove("ada-the-only")


def test_an_emptied_gallery_takes_any_space(gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)])
    gallery.remove("ada")
    assert gallery.enrol([make_template("ada", 1, space="space-b")]) == 1


def test_only_the_owner_may_read_it(tmp_path: Path, gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)])
    assert stat.S_IMODE((tmp_path / "gallery.db").stat().st_mode) == 0o600


def test_a_file_that_is_no_gallery_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be read as one" * 40)
    with pytest.raises(BadInput, match=r"notes\.txt is not a readable gallery"):
        Gallery(path).list_subjects()
