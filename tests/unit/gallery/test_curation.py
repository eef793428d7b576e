import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.contracts.errors import BadInput
from services.gallery.edits import Consent
from services.gallery.store import Gallery
from services.gallery.template import Embedding, Template
from tests.unit.gallery.samples import make_template, read_cells


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    gallery = Gallery(tmp_path / "gallery.db")
    gallery.enrol([make_template("ada", 1), make_template("ada", 2), make_template("bo", 3)])
    return gallery


def who(gallery: Gallery) -> dict[str, int]:
    return {subject.subject_id: subject.templates for subject in gallery.list_subjects()}


def test_a_merge_answers_one_name_and_its_undo_both(gallery: Gallery) -> None:
    before = gallery.snapshot("space-a").reference
    gallery.merge("bo", "ada")
    assert who(gallery) == {"ada": 3}
    with pytest.raises(BadInput, match=r"'bo' was merged into 'ada'.*undo"):
        gallery.read_templates("bo")
    gallery.enrol([make_template("bo", 4)])  # whoever enrols the old name means the same person
    assert who(gallery) == {"ada": 4}
    (merge,) = [edit for edit in gallery.list_edits() if edit.kind == "merge"]
    assert gallery.undo(merge.number).kind == "merge"
    assert who(gallery) == {"ada": 3, "bo": 1} or who(gallery) == {"ada": 2, "bo": 2}
    gallery.undo()  # the enrolment
    assert who(gallery) == {"ada": 2, "bo": 1}
    assert gallery.snapshot("space-a").reference == before


def test_a_split_moves_the_templates_named(gallery: Gallery) -> None:
    wrong = make_template("ada", 2)
    assert gallery.split("ada", "cy", [wrong.template_id[:12]]) == 1
    assert who(gallery) == {"ada": 1, "bo": 1, "cy": 1}
    (moved,) = gallery.read_templates("cy")
    assert (moved.template_id, moved.subject_id) == (wrong.template_id, "cy")
    gallery.undo()
    assert who(gallery) == {"ada": 2, "bo": 1}
    with pytest.raises(BadInput, match="0 templates of 'ada'"):
        gallery.split("ada", "cy", ["ffff"])
    with pytest.raises(BadInput, match="2 templates of 'ada'"):
        gallery.split("ada", "cy", [""])


def test_an_undo_can_be_undone_and_twice_is_refused(gallery: Gallery) -> None:
    merge = gallery.merge("bo", "ada")
    gallery.undo()
    with pytest.raises(BadInput, match=f"edit {merge} is undone already"):
        gallery.undo(merge)
    undoing = gallery.list_edits()[-1]
    assert undoing.undoes == merge
    gallery.undo(undoing.number)
    assert who(gallery) == {"ada": 3}


def test_an_enrolment_can_be_undone_and_made_again(gallery: Gallery) -> None:
    gallery.undo()
    assert who(gallery) == {"ada": 2}
    assert gallery.enrol([make_template("bo", 3)]) == 1
    assert who(gallery) == {"ada": 2, "bo": 1}


def test_edits_destroy_nothing(gallery: Gallery, tmp_path: Path) -> None:
    before = read_cells(tmp_path / "gallery.db")
    gallery.merge("bo", "ada")
    gallery.split("ada", "cy", [make_template("ada", 1).template_id])
    gallery.undo()
    gallery.deny("ada", [make_template("ada", 9)])
    gallery.set_consent("ada", Consent(basis="form"))
    assert before <= read_cells(tmp_path / "gallery.db")


def test_not_ada_keeps_ada_off_that_face_until_it_is_undone(gallery: Gallery) -> None:
    ada = make_template("ada", 1).embedding.vector
    other = ada + 0.2 * make_template("x", 50).embedding.vector
    stranger = (other / np.linalg.norm(other)).astype(np.float32)
    before = gallery.snapshot("space-a")
    assert before.rank(before.similarities(stranger[None])[0])[0].subject_id == "ada"
    face = Template("", Embedding(stranger, "space-a"), 0.5, b"chip", np.zeros((5, 2), np.float32), "0" * 64)
    gallery.deny("ada", [face], remark="event 12")
    after = gallery.snapshot("space-a")
    assert [ranked.subject_id for ranked in after.rank(after.similarities(stranger[None])[0])] == ["bo"]
    assert after.rank(after.similarities(ada[None])[0])[0].subject_id == "ada"  # her own face is hers
    assert after.reference != before.reference
    assert gallery.list_subjects()[0].denied == 1
    gallery.undo()
    assert gallery.snapshot("space-a").reference == before.reference


OPERATIONS = st.lists(st.tuples(st.sampled_from(["merge", "split", "undo", "enrol"]), st.integers(0, 9)), max_size=8)


@given(OPERATIONS, st.integers(0, 2))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_removing_anyone_leaves_everybody_else_as_they_stood(
    tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, int]], victim: int
) -> None:
    gallery = Gallery(tmp_path_factory.mktemp("g") / "gallery.db")
    gallery.enrol([make_template(name, 3 * k + n) for k, name in enumerate("abc") for n in range(2)])
    for kind, number in operations:
        names = sorted(who(gallery))
        first, second = names[number % len(names)], names[(number + 1) % len(names)]
        if kind == "merge" and len(names) > 1:
            gallery.merge(first, second)
        elif kind == "split":
            with contextlib.suppress(BadInput):  # into a name that was merged into this one
                gallery.split(first, "abcd"[number % 4], [some(gallery, first)])
        elif kind == "undo" and number and number <= 7 and len(gallery.list_edits()) > 3:
            gallery.undo()
        elif kind == "enrol":
            gallery.enrol([make_template(first, 20 + number)])
    names = sorted(who(gallery))
    gone = names[victim % len(names)]
    held = {name: sorted(t.template_id for t in gallery.read_templates(name)) for name in names}
    gallery.remove(gone)
    assert {name: sorted(t.template_id for t in gallery.read_templates(name)) for name in who(gallery)} == {
        name: ids for name, ids in held.items() if name != gone
    }
    assert gone not in {edit.subject_id for edit in gallery.list_edits()}


def some(gallery: Gallery, subject_id: str) -> str:
    return gallery.read_templates(subject_id)[0].template_id


def test_reissued_templates_match_as_before_and_share_nothing_with_the_old_ones(
    gallery: Gallery, tmp_path: Path
) -> None:
    gallery.deny("ada", [make_template("ada", 9)])
    before, rows = gallery.snapshot("space-a"), read_cells(tmp_path / "gallery.db")
    assert gallery.reissue() == 4
    after = gallery.snapshot("space-a")
    probe = make_template("x", 30).embedding.vector[None]
    assert np.abs(after.similarities(probe) - before.similarities(probe)).max() < 1e-6
    assert after.reference == before.reference
    assert np.abs(np.sum(before.vectors * after.vectors, axis=1)).max() < 0.999
    assert len(rows - read_cells(tmp_path / "gallery.db")) >= 5  # four vectors and the old rotation's key
