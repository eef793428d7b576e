from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from services.contracts.card import IdentificationCalibration
from services.gallery.calibration import (
    false_negative_rate,
    false_positive_rate,
    search_random_gallery,
    tabulate,
    trace_det,
)
from services.gallery.det import draw_det
from services.gallery.store import Gallery
from tests.unit.gallery.samples import make_template


def searches(galleries: int = 3) -> list:
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(60, 12))
    vectors = np.repeat(centres, 3, 0) + 0.6 * rng.normal(size=(180, 12))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    people = np.repeat([f"p{k:02d}" for k in range(60)], 3)
    return [search_random_gallery(vectors, people, gallery_size=10, templates=1, rng=rng) for _ in range(galleries)]


def test_each_row_says_what_its_threshold_costs() -> None:
    found = searches()
    rows = tabulate(found, [0.001, 0.1])
    for row in rows:
        assert row.fnir == pytest.approx(np.mean([false_negative_rate(each, row.threshold) for each in found]))
        assert row.fnir_spread[0] <= row.fnir <= row.fnir_spread[1]
    assert rows[0].threshold >= rows[1].threshold
    assert (rows[0].resolved, rows[1].resolved) == (False, True)  # 50 strangers cannot show 1 in 1000
    assert rows[1].fpir_measured <= 0.2


def test_the_curve_trades_one_error_for_the_other() -> None:
    found = searches()
    curve = trace_det(found)
    fpirs, fnirs = np.array(curve).T
    assert (np.diff(fpirs) >= 0).all()
    assert (np.diff(fnirs) <= 1e-12).all()
    assert fpirs[-1] == 1
    assert false_positive_rate(found[0], -1.0) == 1


def test_the_plot_is_a_picture_of_every_point() -> None:
    svg = ElementTree.fromstring(draw_det([(0.001, 0.5), (0.1, 0.05)], title="a < b", mark=(0.01, 0.1)))
    (line,) = svg.findall(".//{*}polyline")
    (first, second) = [tuple(map(float, each.split(","))) for each in line.attrib["points"].split()]
    assert first[0] < second[0]  # FPIR to the right
    assert first[1] < second[1]  # FNIR upwards
    assert len(svg.findall(".//{*}circle")) == 1


def test_a_gallery_decides_by_its_own_threshold_and_says_when_it_has_outgrown_it(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery.db")
    gallery.enrol([make_template("ada", 1), make_template("bo", 2)])
    assert gallery.snapshot("space-a").calibration is None
    record = IdentificationCalibration(
        space="space-a",
        threshold=0.7,
        ambiguity_margin=0,
        fpir=0.01,
        fnir=0.1,
        gallery_size=2,
        protocol="p",
        data="d",
    )
    gallery.calibrate(record)
    assert gallery.snapshot("space-a").calibration == record
    assert gallery.outgrown() is None
    gallery.enrol([make_template("cy", 3)])
    assert "3 people are enrolled, the threshold was calibrated for 2" in str(gallery.outgrown())
    gallery.calibrate(record.model_copy(update={"space": "other"}))
    assert gallery.snapshot("space-a").calibration is None
