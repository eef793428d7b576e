import numpy as np
import pytest

from services.contracts.errors import BadInput
from services.gallery.calibration import (
    Search,
    calibrate,
    false_negative_rate,
    false_positive_rate,
    search_random_gallery,
    threshold_at,
)


def make_faces(people=30, pictures=4, dimension=16, spread=0.25, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, dimension))
    vectors = np.repeat(centres, pictures, 0) + spread * rng.normal(size=(people * pictures, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, np.repeat([f"p{i:02d}" for i in range(people)], pictures)


def search(templates=2, seed=1, probe_pictures=1, **changes):
    vectors, subjects = make_faces(**changes)
    rng = np.random.default_rng(seed)
    return search_random_gallery(
        vectors, subjects, gallery_size=10, templates=templates, probe_pictures=probe_pictures, rng=rng
    )


def test_everyone_is_enrolled_or_a_stranger_and_no_picture_serves_twice():
    found = search()
    assert len(found.known_best) == 10 * (4 - 2)
    assert len(found.stranger_best) == 30 - 10
    assert found.known_best.max() < 1 - 1e-6


def test_rates_by_slow_loops():
    found = search(spread=0.8)
    t = threshold_at(found.stranger_best, 0.2)
    named = sum(s >= t for s in found.stranger_best) / len(found.stranger_best)
    missed = sum(not (b >= t and right) for b, right in zip(found.known_best, found.known_right, strict=True)) / len(
        found.known_best
    )
    assert false_positive_rate(found, t) == pytest.approx(named)
    assert false_negative_rate(found, t) == pytest.approx(missed)
    assert 0 < missed < 1


@pytest.mark.parametrize("fpir", [0.01, 0.1, 0.25, 1.0])
def test_the_threshold_is_the_lowest_that_keeps_the_rate(fpir):
    strangers = search().stranger_best
    t = threshold_at(strangers, fpir)
    assert (strangers >= t).mean() <= fpir
    assert t == -1.0 or (strangers >= t - 1e-9).mean() > fpir


def test_people_far_apart_are_all_found_and_nobody_else_is():
    found = search(spread=0.01)
    t = threshold_at(found.stranger_best, 0.05)
    assert false_negative_rate(found, t) == 0
    assert found.known_right.all()


def test_margin_catches_nine_in_ten_wrong_matches():
    margins = np.linspace(0, 0.09, 10)
    one = Search(
        stranger_best=np.array([0.1, 0.2]),
        known_best=np.full(10, 0.9),
        known_margin=margins,
        known_right=np.zeros(10, bool),
    )
    _, margin = calibrate([one], fpir=0.5)
    assert (margins < margin).sum() >= 9


def test_too_large_a_gallery_is_refused_with_the_numbers():
    vectors, subjects = make_faces(people=12)
    with pytest.raises(BadInput, match="gallery of 12 wanted; 12 of 12"):
        search_random_gallery(vectors, subjects, gallery_size=12, templates=1, rng=np.random.default_rng())


def test_pooled_probes_are_fewer_and_nearer():
    single, pooled = search(pictures=8, spread=0.6), search(pictures=8, spread=0.6, probe_pictures=3)
    assert len(pooled.known_best) == 10 * ((8 - 2) // 3)
    assert len(pooled.stranger_best) == len(single.stranger_best)
    assert pooled.known_best.mean() > single.known_best.mean()


def test_whoever_has_too_few_pictures_takes_no_part():
    vectors, subjects = make_faces(people=20, pictures=4)
    kept = np.r_[np.arange(60), 60:80:4]
    found = search_random_gallery(
        vectors[kept], subjects[kept], gallery_size=5, templates=2, probe_pictures=2, rng=np.random.default_rng(0)
    )
    assert len(found.stranger_best) == 15 - 5
