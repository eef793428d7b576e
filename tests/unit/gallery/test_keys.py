import base64
import shutil
import stat
import threading
from pathlib import Path

import pytest

from services.contracts.errors import BadInput, BadUsage
from services.gallery.keys import KeyFile, KeyText, find_provider
from services.gallery.schema import flush_log
from services.gallery.store import Gallery
from tests.unit.gallery.samples import make_template, table_rows

OLD, NEW = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))


def key_ids(path: Path) -> set[str]:
    rows = table_rows(path)
    return {row[1] for table in ("subjects", "secrets") for row in rows[table]}


def test_the_key_file_is_made_beside_the_gallery_for_its_owner_alone(tmp_path: Path) -> None:
    Gallery(tmp_path / "g.db").enrol([make_template("ada", 1)])
    path = tmp_path / "g.db.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_text())) == 32


def test_without_its_key_a_gallery_is_refused_and_no_new_key_is_made(tmp_path: Path) -> None:
    Gallery(tmp_path / "g.db").enrol([make_template("ada", 1)])
    (tmp_path / "g.db.key").unlink()
    for look in (lambda g: g.list_subjects(), lambda g: g.enrol([make_template("bo", 2)]), lambda g: g.rotate_key()):
        with pytest.raises(BadInput, match=r"key is gone.*WHODID_KEY_FILE"):
            look(Gallery(tmp_path / "g.db"))
    assert not (tmp_path / "g.db.key").exists()


def test_another_galleries_key_is_named_as_the_wrong_one(tmp_path: Path) -> None:
    for name in ("a.db", "b.db"):
        Gallery(tmp_path / name).enrol([make_template("ada", 1)])
    shutil.copy(tmp_path / "a.db.key", tmp_path / "b.db.key")
    with pytest.raises(BadInput, match=r"sealed with key [0-9a-f]{16}, which .*b\.db\.key does not hold"):
        Gallery(tmp_path / "b.db").list_subjects()


def test_rotation_leaves_one_key_and_every_template(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    gallery = Gallery(path)
    gallery.enrol([make_template("ada", 1), make_template("bo", 2)])
    old_key, old_ids, before = (tmp_path / "g.db.key").read_bytes(), key_ids(path), gallery.snapshot("space-a")
    flush_log(gallery.engine)
    copy = tmp_path / "backup.db"
    copy.write_bytes(path.read_bytes())
    changed, left = gallery.rotate_key()
    assert (changed, left) == (4, [])  # two subjects, two secrets
    assert len(key_ids(path)) == 1
    assert key_ids(path).isdisjoint(old_ids)
    assert Gallery(path).snapshot("space-a").reference == before.reference
    assert old_key.strip() not in (tmp_path / "g.db.key").read_bytes()
    (tmp_path / "backup.db.key").write_bytes((tmp_path / "g.db.key").read_bytes())
    with pytest.raises(BadInput, match="does not hold"):  # a backup of before opens with the old key alone
        Gallery(copy).list_subjects()


def test_readers_and_writers_go_on_while_keys_rotate(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    Gallery(path).enrol([make_template("ada", 1)])
    stop, faults = threading.Event(), list[BaseException]()

    def rotate() -> None:
        try:
            while not stop.is_set():
                Gallery(path).rotate_key()
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        for seed in range(2, 14):
            Gallery(path).enrol([make_template(f"s{seed}", seed)])
            assert len(Gallery(path).list_subjects()) == seed
    finally:
        stop.set()
        thread.join()
    assert faults == []
    assert len(Gallery(path).read_templates()) == 13


def test_a_rotation_that_was_interrupted_is_finished_by_the_next(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    Gallery(path).enrol([make_template("ada", 1)])
    KeyFile(tmp_path / "g.db.key").add()  # killed after the new key was written
    assert [s.subject_id for s in Gallery(path).list_subjects()] == ["ada"]
    Gallery(path).enrol([make_template("bo", 2)])
    assert len(key_ids(path)) == 2
    Gallery(path).rotate_key()
    assert len(key_ids(path)) == len((tmp_path / "g.db.key").read_text().split()) == 1
    assert len(Gallery(path).list_subjects()) == 2


def test_keys_from_the_environment_rotate_to_the_first_listed(tmp_path: Path) -> None:
    path = tmp_path / "g.db"
    Gallery(path, KeyText(OLD)).enrol([make_template("ada", 1)])
    with pytest.raises(BadUsage, match="NEW,OLD"):
        Gallery(path, KeyText(OLD)).rotate_key()
    changed, left = Gallery(path, KeyText(f"{NEW},{OLD}")).rotate_key()
    assert changed == 3
    assert len(left) == 1
    assert [s.subject_id for s in Gallery(path, KeyText(NEW)).list_subjects()] == ["ada"]
    assert not (tmp_path / "g.db.key").exists()


def test_a_key_file_that_was_named_may_seal_other_galleries_so_no_key_in_it_is_destroyed(tmp_path: Path) -> None:
    provider = find_provider("", key_file=tmp_path / "keys")
    for name in ("a.db", "b.db"):
        Gallery(tmp_path / name, provider).enrol([make_template("ada", 1)])
    _, left = Gallery(tmp_path / "a.db", provider).rotate_key()
    assert len(left) == 1
    assert [s.subject_id for s in Gallery(tmp_path / "b.db", provider).list_subjects()] == ["ada"]


@pytest.mark.parametrize("text", ["", "abc", base64.b64encode(b"short").decode(), "é"])
def test_what_is_no_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(BadInput) as caught:
        KeyText(text).read()
    assert not text or text not in str(caught.value).replace("openssl rand -base64 32", "")


def test_a_database_url_needs_a_named_key() -> None:
    with pytest.raises(BadUsage, match="WHODID_KEY"):
        find_provider("postgresql://u:secret@host/g")
    assert find_provider("postgresql://host/g", key=OLD) == KeyText(OLD)
