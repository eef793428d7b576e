"""`whodid gallery calibrate`: the threshold of one gallery, measured on a cohort of other people."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.console import ProgressBars
from services.contracts.card import IdentificationCalibration
from services.contracts.errors import BadInput
from services.contracts.identity import Threshold
from services.enrolment import Enroller
from services.gallery.calibration import OperatingPoint, calibrate, search_random_gallery, tabulate, trace_det
from services.gallery.det import draw_det
from services.gallery.growth import follow_growth, measure_tail
from services.gallery.store import Gallery
from services.settings import Settings

FPIRS = (0.001, 0.003, 0.01, 0.03, 0.1)
# The threshold is told for galleries so many times larger, too.
_GROWTH = (1, 3, 10, 30, 100)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What came of it.

    Attributes:
        record: The calibration, as it is kept in the gallery.
        table: FNIR at several FPIRs.
        plot: The DET curve, SVG.
        growth: The threshold that will hold once more people are enrolled; empty where strangers were too few.
    """

    record: IdentificationCalibration
    table: list[OperatingPoint]
    plot: str
    growth: list[Threshold]


def calibrate_gallery(
    settings: Settings,
    location: str | None,
    cohort: Path,
    *,
    fpir: float,
    size: int | None,
    probe_pictures: int,
    galleries: int,
    seed: int,
) -> Calibrated:
    """Measure on a cohort and keep the threshold in the gallery.

    Args:
        settings: Of this machine.
        location: Path or url of the gallery; the machine's own when None.
        cohort: One sub-folder of pictures a person, none of whom is enrolled.
        fpir: Strangers named, as a share, that is allowed.
        size: Subjects to calibrate for; as many as are enrolled when None.
        probe_pictures: Pooled into one probe, as a track's faces are.
        galleries: Random ones to draw.
        seed: Decides them.

    Raises:
        BadInput: The cohort is too small for that many subjects.
    """
    gallery, enroller = Gallery.open(settings, location), Enroller.load(settings)
    size = size or max(1, len(gallery.list_subjects()))
    vectors, people, skipped = _embed(enroller, cohort)
    rng = np.random.default_rng(seed)
    searches = [
        search_random_gallery(vectors, people, gallery_size=size, templates=1, probe_pictures=probe_pictures, rng=rng)
        for _ in range(galleries)
    ]
    threshold, margin = calibrate(searches, fpir)
    (point,) = tabulate(searches, [fpir])
    count = len(set(people))
    protocol = (
        f"{galleries} random galleries (seed {seed}) of {size} subjects, 1 picture each; probes of {probe_pictures} "
        f"pooled picture(s); strangers: one probe of each of the others; at this threshold FPIR "
        f"{point.fpir_measured:.4f}, FNIR {point.fnir:.4f} ({point.fnir_spread[0]:.4f} to {point.fnir_spread[1]:.4f}); "
        f"{skipped} pictures without one usable face left out"
    )
    if not point.resolved:
        protocol += f"; a gallery meets fewer than {1 / fpir:.0f} strangers, so FPIR {fpir} lies beyond the sample"
    record = IdentificationCalibration(
        space=enroller.embedder.space,
        threshold=round(min(threshold, 1.0), 4),
        ambiguity_margin=round(margin, 4),
        fpir=fpir,
        fnir=round(point.fnir, 4),
        gallery_size=size,
        protocol=protocol,
        data=f"{cohort.name}: {count} people, {len(people)} pictures",
    )
    nearest = np.concatenate([search.stranger_best for search in searches])
    tail = measure_tail(nearest, space=record.space, subjects=size, people=count)
    gallery.calibrate(record, tail)
    growth = [] if tail is None else [follow_growth(record, tail, size * times)[1] for times in _GROWTH]
    title = f"{size} subjects, {count} people, threshold {record.threshold}"
    plot = draw_det(trace_det(searches), title=title, mark=(point.fpir_measured, point.fnir))
    return Calibrated(record, tabulate(searches, FPIRS), plot, growth)


def _embed(enroller: Enroller, cohort: Path) -> tuple[NDArray[np.float32], NDArray[np.str_], int]:
    paths: Sequence[Path] = sorted(path for path in cohort.glob("*/*") if path.is_file())
    if not paths:
        raise BadInput(f"{cohort} has no sub-folder with files: expected {cohort}/PERSON/PICTURE")
    rows, people, skipped = [], [], 0
    with ProgressBars(unit="pictures") as bars:
        for done, path in enumerate(paths, start=1):
            try:
                (template, *_) = enroller.make_templates(path.parent.name, path)
            except BadInput:
                skipped += 1
            else:
                rows.append(template.embedding.vector)
                people.append(path.parent.name)
            bars.advance_to("cohort", done, len(paths))
    if not rows:
        raise BadInput(f"{cohort}: no picture with one usable face among {len(paths)}")
    return np.stack(rows), np.array(people), skipped
