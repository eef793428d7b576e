"""Calibration: from which similarity a stranger-proof match begins, for a gallery of a stated size.

Random galleries are drawn from a cohort of people, everybody else searches them as a stranger. Source: ISO/IEC 19795-1
and NIST FRVT 1:N (open-set identification; FPIR and FNIR at a gallery size, DET curve).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One row of the FNIR@FPIR table.

    Attributes:
        fpir: Strangers named, as a share, that was aimed at.
        threshold: Mean of the galleries' thresholds.
        fpir_measured: Mean over the galleries at that one threshold.
        fnir: Mean over the galleries of enrolled people missed, as a share.
        fnir_spread: The least and the most of them.
        resolved: Whether a gallery had enough strangers to see such a share at all.
    """

    fpir: float
    threshold: float
    fpir_measured: float
    fnir: float
    fnir_spread: tuple[float, float]
    resolved: bool


def tabulate(searches: Sequence[Search], fpirs: Sequence[float]) -> list[OperatingPoint]:
    """FNIR at each FPIR, over the galleries."""
    points = []
    for fpir in fpirs:
        threshold = float(np.mean([threshold_at(search.stranger_best, fpir) for search in searches]))
        missed = [false_negative_rate(search, threshold) for search in searches]
        points.append(
            OperatingPoint(
                fpir,
                threshold,
                float(np.mean([false_positive_rate(search, threshold) for search in searches])),
                float(np.mean(missed)),
                (min(missed), max(missed)),
                all(fpir * len(search.stranger_best) >= 1 for search in searches),
            )
        )
    return points


def trace_det(searches: Sequence[Search], points: int = 200) -> list[tuple[float, float]]:
    """The DET curve of all galleries together: (FPIR, FNIR) from the highest threshold to the lowest."""
    strangers = np.concatenate([search.stranger_best for search in searches])
    levels = np.quantile(strangers, np.linspace(1, 0, points))
    return [
        (
            float((strangers >= level).mean()),
            float(np.mean([false_negative_rate(search, float(level)) for search in searches])),
        )
        for level in levels
    ]
