"""Who is this, or nobody we know? Calibrates the similarity from which a stranger-proof match begins.

    python -m training.metrics.identification --root DIR --model champion --gallery-size N --fpir 0.01 --json

`--root` holds a folder of pictures for each person. Prints an IdentificationCalibration record.

Source: ISO/IEC 19795-1 and NIST FRVT 1:N (open-set identification; FPIR and FNIR at a gallery size).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from services.contracts.card import IdentificationCalibration
from services.contracts.errors import BadInput
from services.gallery.calibration import (
    calibrate,
    false_negative_rate,
    false_positive_rate,
    search_random_gallery,
)

if TYPE_CHECKING:
    from services.identity.embed import FaceEmbedder

__all__ = [
    "calibrate",
    "calibrate_embedder",
    "false_negative_rate",
    "false_positive_rate",
    "list_pictures",
    "main",
    "search_random_gallery",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, embed, search, print."""
    from training.metrics.faces import open_embedder

    parser = argparse.ArgumentParser(prog="training.metrics.identification", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="a folder of pictures for each person")
    parser.add_argument("--model", required=True, help="name, name@version, sha256, card.json, or champion")
    parser.add_argument("--gallery-size", type=int, required=True, help="subjects enrolled")
    parser.add_argument("--fpir", type=float, required=True, help="strangers named, as a share, that is allowed")
    parser.add_argument("--templates", type=int, default=1, help="pictures enrolled of each (default 1)")
    parser.add_argument(
        "--probe-pictures", type=int, default=1, help="pooled into one probe, as a track's are (default 1)"
    )
    parser.add_argument("--galleries", type=int, default=20, help="random galleries (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="decides them")
    parser.add_argument("--data", help="who the people are, with the data's licence, for the record")
    parser.add_argument("--json", action="store_true", help="on one line")
    options = parser.parse_args(arguments)

    record = calibrate_embedder(
        open_embedder(options.model),
        list_pictures(options.root),
        gallery_size=options.gallery_size,
        templates=options.templates,
        probe_pictures=options.probe_pictures,
        fpir=options.fpir,
        galleries=options.galleries,
        seed=options.seed,
        data=options.data or options.root.name,
    )
    sys.stdout.write(record.model_dump_json(indent=None if options.json else 2) + "\n")


def list_pictures(root: Path) -> list[Path]:
    """Every <person>/<picture> under a folder, in order.

    Raises:
        BadInput: There is none.
    """
    paths = sorted(p for p in root.glob("*/*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not paths:
        raise BadInput(f"{root} holds no <person>/<picture>.jpg or .png")
    return paths


def calibrate_embedder(
    embedder: "FaceEmbedder",
    paths: Sequence[Path],
    *,
    gallery_size: int,
    templates: int,
    probe_pictures: int,
    fpir: float,
    galleries: int,
    seed: int,
    data: str,
) -> IdentificationCalibration:
    """Embed a cohort's pictures, search random galleries of it, and say which threshold holds.

    Args:
        embedder: To calibrate.
        paths: Pictures; the folder of each names the person on it.
        gallery_size: Subjects enrolled.
        templates: Pictures enrolled of each.
        probe_pictures: Pooled into one probe.
        fpir: Strangers named, as a share, that is allowed.
        galleries: How many are drawn.
        seed: Decides them.
        data: Who the people are; their number is added.

    Raises:
        BadInput: Too few people have enough pictures.
    """
    from training.metrics.faces import embed_pictures

    faces = embed_pictures(embedder, paths)
    subjects = np.array([path.parent.name for path in paths])[faces.found]
    rng = np.random.default_rng(seed)
    searches = [
        search_random_gallery(
            faces.vectors[faces.found],
            subjects,
            gallery_size=gallery_size,
            templates=templates,
            probe_pictures=probe_pictures,
            rng=rng,
        )
        for _ in range(galleries)
    ]
    threshold, margin = calibrate(searches, fpir)
    positives = [false_positive_rate(search, threshold) for search in searches]
    negatives = [false_negative_rate(search, threshold) for search in searches]
    return IdentificationCalibration(
        space=embedder.space,
        threshold=round(threshold, 4),
        ambiguity_margin=round(margin, 4),
        fpir=fpir,
        fnir=round(float(np.mean(negatives)), 4),
        gallery_size=gallery_size,
        protocol=(
            f"{galleries} random galleries (seed {seed}) of {gallery_size} subjects, "
            f"{templates} picture(s) each; probes of {probe_pictures} pooled picture(s); "
            f"strangers: one probe of each of the others with as many pictures; "
            f"at this threshold FPIR {np.mean(positives):.4f} (galleries {min(positives):.4f} to "
            f"{max(positives):.4f}), FNIR {np.mean(negatives):.4f} ({min(negatives):.4f} to {max(negatives):.4f}); "
            f"{int((~faces.found).sum())} of {len(paths)} pictures without a detected face left out"
        ),
        data=f"{data}: {len(set(subjects))} people, {len(subjects)} pictures",
    )


if __name__ == "__main__":
    from training.stages.entry import run

    run(main)
