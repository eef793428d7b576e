"""Thresholds that follow the gallery's size, against galleries of that size."""

import numpy as np
import pytest
from pydantic import ValidationError

from services.contracts.card import IdentificationCalibration
from services.gallery.growth import StrangerTail, find_shipped_tail, follow_growth, measure_tail, stricter_than
from services.gallery.store import Gallery
from tests.unit.gallery.samples import make_template

SPACE, DIMENSION = "s", 16


def stranger_best(subjects: int, strangers: int, seed: int) -> np.ndarray:
    """(strangers,) cosine of each to the nearest of so many random directions."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(count, DIMENSION)) for count in (subjects, strangers)]
    gallery, probes = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in rows)
    return np.asarray((probes @ gallery.T).max(axis=1))


def pooled(subjects: int, *, galleries: int, strangers: int, seed: int) -> np.ndarray:
    return np.concatenate([stranger_best(subjects, strangers, seed + k) for k in range(galleries)])


def calibration_at(threshold: float, *, fpir: float = 0.01, size: int = 10) -> IdentificationCalibration:
    return IdentificationCalibration(
        space=SPACE, threshold=threshold, ambiguity_margin=0, fpir=fpir, fnir=0, gallery_size=size, protocol="", data=""
    )


@pytest.fixture(scope="module")
def tail() -> StrangerTail:
    found = measure_tail(pooled(10, galleries=40, strangers=100, seed=1), space=SPACE, subjects=10, people=2000)
    assert found is not None
    return found


@pytest.mark.parametrize("subjects", [10, 30, 100, 1000])
def test_the_threshold_for_more_people_keeps_strangers_as_rare_as_was_asked_for(
    tail: StrangerTail, subjects: int
) -> None:
    strangers = pooled(subjects, galleries=30, strangers=1000, seed=1000)
    share = float((strangers >= tail.similarity_at(0.01, subjects)).mean())
    assert 0.004 < share < 0.02  # extrapolated from 4,000 strangers to a hundredfold gallery
    unchanged = float((strangers >= tail.similarity_at(0.01, 10)).mean())
    assert unchanged == pytest.approx(1 - 0.99 ** (subjects / 10), rel=0.35)  # what not following would cost


def test_the_threshold_is_the_calibrated_one_until_the_gallery_outgrows_it(tail: StrangerTail) -> None:
    begun = calibration_at(0.8)
    for few in (0, 1, 10):
        kept, said = follow_growth(begun, tail, few)
        assert (kept, said.basis, said.similarity) == (begun, "calibrated", 0.8)
    thresholds = [follow_growth(begun, tail, size)[0].threshold for size in (10, 11, 30, 100, 10_000)]
    assert thresholds == sorted(thresholds)
    assert thresholds[0] < thresholds[2] < thresholds[-1] <= 1
    bases = [follow_growth(begun, tail, size)[1].basis for size in (20, 10_000)]
    assert bases == ["computed", "extrapolated"]


def test_without_a_distribution_the_threshold_stays_and_says_that_it_is_outgrown() -> None:
    begun = calibration_at(0.8)
    kept, said = follow_growth(begun, None, 11)
    assert (kept.threshold, said.basis) == (0.8, "outgrown")
    assert measure_tail(np.linspace(0, 1, 99), space=SPACE, subjects=10, people=2000) is None
    # However often galleries are drawn from them, 30 people show no more than 435 pairs.
    assert measure_tail(np.linspace(0, 1, 9999), space=SPACE, subjects=10, people=30) is None


def test_a_rarer_error_needs_a_higher_similarity(tail: StrangerTail) -> None:
    begun = calibration_at(0.8)
    stricter = [stricter_than(begun, tail, subjects=size, times=10) for size in (1, 10, 100)]
    assert 0.8 < stricter[0] == stricter[1] < stricter[2]
    assert stricter[2] > follow_growth(begun, tail, 100)[0].threshold


def test_similarities_never_leave_the_sphere_and_never_fall_with_size(tail: StrangerTail) -> None:
    sizes = np.unique(np.geomspace(1, 1e9, 200).astype(int))
    curve = [tail.similarity_at(0.003, int(size)) for size in sizes]
    assert curve == sorted(curve)
    assert -1 <= curve[0] <= curve[-1] <= 1


def test_a_distribution_that_is_none_is_refused(tail: StrangerTail) -> None:
    for change in ({"shares": tail.shares[::-1]}, {"similarities": tail.similarities[:-1]}, {"shape": 0.4}):
        with pytest.raises(ValidationError):
            StrangerTail.model_validate({**tail.model_dump(), **change})


def test_the_gallery_keeps_it_and_says_what_the_threshold_rests_on(tmp_path, tail: StrangerTail) -> None:
    gallery = Gallery(tmp_path / "gallery.db")
    gallery.enrol([make_template(f"p{k}", k) for k in range(4)])
    begun = calibration_at(0.8, size=2).model_copy(update={"space": "space-a"})
    of_two = tail.model_copy(update={"space": "space-a", "subjects": 2})
    gallery.calibrate(begun, of_two)
    snapshot = gallery.snapshot("space-a")
    assert (snapshot.calibration, snapshot.tail) == (begun, of_two)
    assert gallery.outgrown() is None
    gallery.calibrate(begun)  # a calibration on too few people takes the old distribution with it
    assert gallery.snapshot("space-a").tail is None
    assert "4 people are enrolled, the threshold was calibrated for 2" in str(gallery.outgrown())


def test_the_shipped_embedder_has_one_for_its_own_calibration_alone() -> None:
    from services.models.catalogue import read_pretrained

    (own,) = [card.identification for each in read_pretrained() if (card := each.card).identification is not None]
    shipped = find_shipped_tail(own)
    assert shipped is not None
    assert shipped.similarity_at(own.fpir, own.gallery_size) == pytest.approx(own.threshold, abs=0.003)
    assert find_shipped_tail(own.model_copy(update={"threshold": 0.5})) is None
