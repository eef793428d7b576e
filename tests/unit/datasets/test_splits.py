import pytest

from services.contracts.errors import BadInput
from training.datasets.splits import pick_subjects, refuse_leak


def test_a_shared_subject_is_named_with_both_sides():
    with pytest.raises(BadInput, match="bo on both sides, train and heldout"):
        refuse_leak({"train": {"ann", "bo"}, "validation": {"cy"}, "heldout": {"bo"}})


def test_disjoint_sides_pass():
    refuse_leak({"train": {"ann"}, "validation": {"bo"}, "heldout": {"cy"}})


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    subjects = [f"s{i}" for i in range(20)]
    drawn = pick_subjects(subjects, 0.25, seed=4)
    assert drawn == pick_subjects(reversed(subjects), 0.25, seed=4)
    assert drawn != pick_subjects(subjects, 0.25, seed=5)
    assert len(drawn) == 5


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_side_is_ever_empty(share):
    assert len(pick_subjects({"ann", "bo"}, share, seed=0)) == 1


def test_one_subject_cannot_be_split():
    with pytest.raises(BadInput, match="1 subject"):
        pick_subjects({"ann"}, 0.5, seed=0)
