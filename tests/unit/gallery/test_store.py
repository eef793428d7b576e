import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from services.contracts.errors import BadInput
from services.gallery.edits import Consent
from services.gallery.store import Gallery
from tests.unit.gallery.samples import column_names, make_template, table_rows, write_cell, write_plain


def read_all(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.glob("gallery.db*")) if path.suffix != ".key")


def read_whole(gallery: Gallery) -> None:
    gallery.read_templates()
    gallery.snapshot("space-a")
    gallery.enrol([make_template("ada", 1)])  # looks the name up


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return Gallery(tmp_path / "gallery.db")


def test_what_is_enrolled_is_read_back(gallery: Gallery) -> None:
    template = make_template("ada", 1)
    assert gallery.enrol([template]) == 1
    (read,) = gallery.read_templates("ada")
    assert read.template_id == template.template_id
    assert np.allclose(read.embedding.vector, template.embedding.vector, atol=1e-6)
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
    with pytest.raises(BadInput, match="whodid gallery migrate"):
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


def test_nothing_that_says_who_or_what_can_be_read_on_disk(tmp_path: Path, gallery: Gallery) -> None:
    template = make_template("ada-the-only", 1)
    gallery.enrol([template, make_template("bo", 2)])
    gallery.set_consent("ada-the-only", Consent(basis="signed form 12"))
    content = read_all(tmp_path)
    vector = template.embedding.vector.tobytes()
    for secret in (b"ada-the-only", b"chip of", b"form 12", vector, vector[:8], template.template_id.encode()):
        assert secret not in content


def test_removal_leaves_no_row_and_no_key_of_the_subject(tmp_path: Path, gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)])
    before = [row for table in table_rows(tmp_path / "gallery.db").values() for row in table]
    gallery.enrol([make_template("bo", 2)])
    assert gallery.remove("ada") == 1
    blobs = [cell for row in before for cell in row if isinstance(cell, bytes)]
    after = read_all(tmp_path)
    removed = [blob for blob in blobs if blob not in after]
    assert len(removed) == 6  # key, name, facts, chip, vector, edit; the gallery's own two keys stay
    assert [s.subject_id for s in gallery.list_subjects()] == ["bo"]
    with pytest.raises(BadInput, match="no subject 'ada'"):
        gallery.remove("ada")


def test_an_emptied_gallery_takes_any_space(gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)])
    gallery.remove("ada")
    assert gallery.enrol([make_template("ada", 1, space="space-b")]) == 1


def test_only_the_owner_may_read_it(tmp_path: Path, gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)])
    for name in ("gallery.db", "gallery.db.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_database_that_is_no_gallery_is_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE songs (title)")
    other.close()
    with pytest.raises(BadInput, match=r"not a readable gallery: it holds songs"):
        Gallery(tmp_path / "other.db").enrol([make_template("ada", 1)])


@pytest.mark.parametrize("table", ["subjects", "faces", "vectors", "edits", "secrets"])
def test_one_changed_byte_or_two_rows_swapped_are_noticed(tmp_path: Path, table: str) -> None:
    path = tmp_path / "gallery.db"
    Gallery(path).enrol([make_template("ada", 1), make_template("bo", 2)])
    rows = table_rows(path)[table]
    columns = [name for name, cell in zip(column_names(path, table), rows[0], strict=True) if isinstance(cell, bytes)]
    key = column_names(path, table)[0]
    for column in columns:
        at = column_names(path, table).index(column)
        first, second = rows[0], rows[1]
        flipped = bytes([first[at][-1] ^ 1])
        for changed in (first[at][:-1] + flipped, second[at], b""):
            write_cell(path, table, column, key, first[0], changed)
            with pytest.raises(BadInput, match="altered or moved"):
                read_whole(Gallery(path))
        write_cell(path, table, column, key, first[0], first[at])
    read_whole(Gallery(path))


def test_a_gallery_of_before_sealing_is_sealed_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"
    templates = [make_template("ada-the-only", 1), make_template("ada-the-only", 2), make_template("bo", 3)]
    write_plain(path, templates)
    assert b"ada-the-only" in path.read_bytes()
    assert [(s.subject_id, s.templates) for s in Gallery(path).list_subjects()] == [("ada-the-only", 2), ("bo", 1)]
    assert {t.template_id for t in Gallery(path).read_templates()} == {t.template_id for t in templates}
    content = read_all(tmp_path)
    assert b"ada-the-only" not in content
    assert b"chip of" not in content


def test_a_snapshot_is_read_once_until_something_changes(gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)])
    first = gallery.snapshot("space-a")
    assert gallery.snapshot("space-a") is first
    gallery.enrol([make_template("bo", 2)])
    assert gallery.snapshot("space-a").names == ("ada", "bo")


def test_who_has_not_consented_any_longer_is_not_matched_and_is_said_so(gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1), make_template("bo", 2)])
    end = datetime(2030, 1, 1, tzinfo=UTC)
    gallery.set_consent("ada", Consent(basis="visit", expires_at=end))
    before, after = end - timedelta(seconds=1), end
    assert gallery.snapshot("space-a", now=before).names == ("ada", "bo")
    assert gallery.snapshot("space-a", now=after).names == ("bo",)
    assert [s.expired for s in gallery.list_subjects(now=after)] == [True, False]
    gallery.undo()
    assert gallery.snapshot("space-a", now=after).names == ("ada", "bo")


def test_a_face_enrolled_under_another_name_is_refused_with_the_similarity(gallery: Gallery) -> None:
    gallery.enrol([make_template("ada", 1)], duplicate_similarity=0.9)
    twin = make_template("bo", 1)
    with pytest.raises(BadInput, match=r"already enrolled as 'ada' \(similarity 1\.0000.*--duplicate"):
        gallery.enrol([make_template("cy", 5), twin], duplicate_similarity=0.9)
    assert [s.subject_id for s in gallery.list_subjects()] == ["ada"]
    with pytest.raises(BadInput, match="already enrolled as"):  # both new
        Gallery(gallery.location + "2").enrol([make_template("ada", 1), twin], duplicate_similarity=0.9)
    assert gallery.enrol([make_template("ada", 4), make_template("cy", 5)], duplicate_similarity=0.9) == 2
    assert gallery.enrol([twin]) == 1


def test_enrolments_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "gallery.db"

    def enrol(seed: int) -> int:
        return Gallery(path).enrol([make_template(f"s{seed}", seed)])

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(enrol, range(16))) == 16
    assert len(Gallery(path).list_subjects()) == 16
    assert len((tmp_path / "gallery.db.key").read_text().split()) == 1


def test_a_file_that_is_no_gallery_is_named(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be read as one" * 40)
    with pytest.raises(BadInput, match=r"notes\.txt is not a readable gallery"):
        Gallery(path).list_subjects()
