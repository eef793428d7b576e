"""Who is this, or nobody we know? Calibrates the similarity from which a stranger-proof match begins.

    python -m training.metrics.identification --root DIR --model champion --gallery-size N --fpir 0.01 --json

`--root` holds a folder of pictures for each person. Prints an IdentificationCalibration record.

Source: ISO/IEC 19795-1 and NIST FRVT 1:N (open-set identification; FPIR and FNIR at a gallery size).
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import IdentificationCalibration
from services.contracts.errors import BadInput

Floats = NDArray[np.float64]

# Of the wrong matches at the threshold, the share the ambiguity margin must turn into abstentions.
MARGIN_CATCHES = 0.9


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """What one random gallery answered.

    Attributes:
        stranger_best: (S,) similarity of each stranger to the nearest enrolled subject.
        known_best: (Q,) the same for each probe of an enrolled subject.
        known_margin: (Q,) how far the runner-up subject lies behind.
        known_right: (Q,) bool, whether the nearest subject is the right one.
    """

    stranger_best: Floats
    known_best: Floats
    known_margin: Floats
    known_right: NDArray[np.bool_]


def search_random_gallery(
    vectors_PD: NDArray[np.floating],
    subject_P: NDArray[np.str_],
    *,
    gallery_size: int,
    templates: int,
    probe_pictures: int = 1,
    rng: np.random.Generator,
) -> Search:
    """Enrol random people, then search with their other pictures and once for everybody else.

    A probe is the mean of `probe_pictures` faces, as the identity service pools a track's: pooling brings
    strangers nearer, too, so a threshold for single faces does not hold for tracks.

    Args:
        vectors_PD: (P, D) unit vectors, one a picture.
        subject_P: (P,) who is on it.
        gallery_size: Subjects to enrol, of those with a picture to spare.
        templates: Pictures enrolled of each.
        probe_pictures: Pictures pooled into one probe; people with fewer to spare do not take part.
        rng: Decides who and which.

    Raises:
        BadInput: Too few people have enough pictures, or nobody is left as a stranger.
    """
    names, counts = np.unique(subject_P, return_counts=True)
    names, counts = names[counts >= probe_pictures], counts[counts >= probe_pictures]
    eligible = names[counts >= templates + probe_pictures]
    if len(eligible) < gallery_size or len(names) <= gallery_size:
        raise BadInput(
            f"gallery of {gallery_size} wanted; {len(eligible)} of {len(names)} people have "
            f"{templates + probe_pictures} or more detected pictures, and at least one person must remain a stranger: "
            "choose a smaller gallery"
        )
    enrolled = np.sort(rng.choice(eligible, gallery_size, replace=False))
    gallery: list[NDArray[np.intp]] = []
    known: list[NDArray[np.intp]] = []
    known_subjects: list[str] = []
    strangers: list[NDArray[np.intp]] = []
    for name in names:
        pictures = rng.permutation(np.flatnonzero(subject_P == name))
        if name in enrolled:
            gallery.append(pictures[:templates])
            spare = pictures[templates:]
            probes = [spare[k : k + probe_pictures] for k in range(0, len(spare) - probe_pictures + 1, probe_pictures)]
            known.extend(probes)
            known_subjects.extend([name] * len(probes))
        else:
            strangers.append(pictures[:probe_pictures])

    def similarities(probes: Sequence[NDArray[np.intp]]) -> Floats:
        pooled = vectors_PD[np.stack(probes)].mean(axis=1)
        to_each = pooled / np.linalg.norm(pooled, axis=1, keepdims=True) @ vectors_PD[np.concatenate(gallery)].T
        nearest: Floats = to_each.reshape(len(probes), gallery_size, templates).max(axis=2).astype(np.float64)
        return nearest

    to_known = similarities(known)
    ranked = np.sort(to_known, axis=1)
    runner_up = ranked[:, -2] if gallery_size > 1 else np.full(len(known), -1.0)
    return Search(
        stranger_best=similarities(strangers).max(axis=1),
        known_best=ranked[:, -1],
        known_margin=ranked[:, -1] - runner_up,
        known_right=enrolled[to_known.argmax(axis=1)] == np.array(known_subjects),
    )


def threshold_at(stranger_best_S: Floats, fpir: float) -> float:
    """The lowest similarity that at most a share `fpir` of strangers reaches."""
    ranked = np.sort(stranger_best_S)[::-1]
    allowed = int(np.floor(fpir * len(ranked) + 1e-9))
    return float(np.nextafter(ranked[allowed], np.inf)) if allowed < len(ranked) else -1.0


def false_positive_rate(search: Search, threshold: float) -> float:
    """FPIR: strangers named, as a share."""
    return float((search.stranger_best >= threshold).mean())


def false_negative_rate(search: Search, threshold: float) -> float:
    """FNIR: probes of enrolled people not matched to their own subject, as a share."""
    return float(1 - ((search.known_best >= threshold) & search.known_right).mean())


def calibrate(searches: Sequence[Search], fpir: float) -> tuple[float, float]:
    """One threshold and ambiguity margin from several random galleries.

    Returns:
        The mean of the galleries' thresholds at `fpir`, and the least margin that would have turned
        nine in ten of the wrong matches at that threshold into abstentions (0 where none was wrong).
    """
    threshold = float(np.mean([threshold_at(search.stranger_best, fpir) for search in searches]))
    wrong = [search.known_margin[(search.known_best >= threshold) & ~search.known_right] for search in searches]
    margins = np.concatenate(wrong)
    return threshold, float(np.quantile(margins, MARGIN_CATCHES)) if len(margins) else 0.0


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
