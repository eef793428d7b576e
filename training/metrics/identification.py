"""Who is this, or nobody we know? Calibrates the similarity from which a stranger-proof match begins.

    python -m training.metrics.identification --root DIR --model champion --gallery-size N --fpir 0.01 --json

`--root` holds a folder of pictures for each person. Prints an IdentificationCalibration record.

Source: ISO/IEC 19795-1 and NIST FRVT 1:N (open-set identification; FPIR and FNIR at a gallery size).
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services.contracts.card import IdentificationCalibration
from services.contracts.errors import BadInput
from services.gallery.calibration import (
    calibrate,
    false_negative_rate,
    false_positive_rate,
    search_random_gallery,
)

__all__ = ["calibrate", "false_negative_rate", "false_positive_rate", "main", "search_random_gallery"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, embed, search, print."""
    from training.metrics.faces import embed_pictures, open_embedder

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

    paths = sorted(p for p in options.root.glob("*/*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not paths:
        raise BadInput(f"{options.root} holds no <person>/<picture>.jpg or .png")
    embedder = open_embedder(options.model)
    faces = embed_pictures(embedder, paths)
    subjects = np.array([path.parent.name for path in paths])[faces.found]
    rng = np.random.default_rng(options.seed)
    searches = [
        search_random_gallery(
            faces.vectors[faces.found],
            subjects,
            gallery_size=options.gallery_size,
            templates=options.templates,
            probe_pictures=options.probe_pictures,
            rng=rng,
        )
        for _ in range(options.galleries)
    ]
    threshold, margin = calibrate(searches, options.fpir)
    positives = [false_positive_rate(search, threshold) for search in searches]
    negatives = [false_negative_rate(search, threshold) for search in searches]
    record = IdentificationCalibration(
        space=embedder.space,
        threshold=round(threshold, 4),
        ambiguity_margin=round(margin, 4),
        fpir=options.fpir,
        fnir=round(float(np.mean(negatives)), 4),
        gallery_size=options.gallery_size,
        protocol=(
            f"{options.galleries} random galleries (seed {options.seed}) of {options.gallery_size} subjects, "
            f"{options.templates} picture(s) each; probes of {options.probe_pictures} pooled picture(s); "
            f"strangers: one probe of each of the others with as many pictures; "
            f"at this threshold FPIR {np.mean(positives):.4f} (galleries {min(positives):.4f} to "
            f"{max(positives):.4f}), FNIR {np.mean(negatives):.4f} ({min(negatives):.4f} to {max(negatives):.4f}); "
            f"{int((~faces.found).sum())} of {len(paths)} pictures without a detected face left out"
        ),
        data=options.data or f"{options.root.name}: {len(set(subjects))} people, {len(subjects)} pictures",
    )
    sys.stdout.write(record.model_dump_json(indent=None if options.json else 2) + "\n")


if __name__ == "__main__":
    from training.stages.entry import run

    run(main)
