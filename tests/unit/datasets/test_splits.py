import pytest

from services.contracts.errors import BadInput
from training.datasets.splits import pick_clips, refuse_leak


def test_a_shared_subject_is_named_with_both_sides():
    with pytest.raises(BadInput, match="bo on both sides, train and heldout"):
        refuse_leak({"train": {"ann", "bo"}, "validation": {"cy"}, "heldout": {"bo"}})


def test_disjoint_sides_pass():
    refuse_leak({"train": {"ann"}, "validation": {"bo"}, "heldout": {"cy"}})


CASTS = {f"c{i}": {f"s{2 * i}", f"s{2 * i + 1}"} for i in range(20)}


def test_the_draw_depends_on_the_seed_and_not_on_the_order():
    drawn = pick_clips(CASTS, 0.25, seed=4)
    assert drawn == pick_clips(dict(reversed(CASTS.items())), 0.25, seed=4)
    assert drawn != pick_clips(CASTS, 0.25, seed=5)
    assert len(drawn) == 5


@pytest.mark.parametrize("seed", range(8))
def test_clips_hang_together_through_the_people_they_share(seed):
    casts = {"a": {"ann"}, "b": {"bo"}, "c": {"ann", "cy"}, "d": {"cy", "di"}, "e": {"ed"}}
    drawn = pick_clips(casts, 0.2, seed)
    people = set().union(*(casts[clip] for clip in drawn))
    others = set().union(*(casts[clip] for clip in set(casts) - drawn))
    assert not people & others
    assert drawn & {"a", "c", "d"} in (set(), {"a", "c", "d"})


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_neither_side_is_ever_empty(share):
    assert len(pick_clips({"a": {"ann"}, "b": {"bo"}}, share, seed=0)) == 1


def test_clips_of_one_cast_cannot_be_split():
    with pytest.raises(BadInput, match="shares people"):
        pick_clips({"a": {"ann"}, "b": {"ann", "bo"}}, 0.5, seed=0)
