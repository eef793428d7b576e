"""What sealing and turning templates costs, and what it hides: speed, loss of accuracy, linkage across galleries.

    python -m training.bench.gallery [--templates 100000] [--faces DIR]

`--faces` holds a folder of pictures for each person; without it the faces are random directions around random centres.
Source: ISO/IEC 24745:2022 (irreversibility, unlinkability, renewability); Gomez-Barrero et al. 2018, "General framework
to evaluate unlinkability in biometric template protection systems" (mated and non-mated scores across two keys).
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.card import IdentificationCalibration
from services.gallery.protection import make_rotation, rotate
from services.gallery.sealing import make_key
from services.gallery.store import Gallery
from services.gallery.template import Embedding, Template
from services.identity.decide import FaceObservation, decide_identities
from training.bench.machine import describe_machine

Rows = NDArray[np.float32]
_DIMENSION = 128
_PER_SUBJECT = 10
_FACES = 8
_REPEATS = 30
_KEYS = 10


def measure_speed(count: int, rng: np.random.Generator) -> list[str]:
    """Load a sealed gallery of `count` templates and identify eight faces in it, each as a track of one face."""
    vectors = _unit(rng.normal(size=(count, _DIMENSION)))
    landmarks = np.zeros((5, 2), np.float32)
    templates = [
        Template(f"s{k // _PER_SUBJECT:06d}", Embedding(row, "bench"), 0.9, b"chip", landmarks, "0" * 64)
        for k, row in enumerate(vectors)
    ]
    calibration = IdentificationCalibration(
        space="bench", threshold=0.8, ambiguity_margin=0, fpir=0.01, fnir=0.1, gallery_size=1, protocol="", data=""
    )
    with tempfile.TemporaryDirectory(prefix="whodid-bench-") as folder:
        path = Path(folder) / "gallery.db"
        enrol_seconds = _clock(lambda: Gallery(path).enrol(templates))
        gallery = Gallery(path)
        load_seconds = _clock(lambda: gallery.snapshot("bench"))
        probes = _unit(vectors[rng.choice(count, _FACES)] + 0.02 * rng.normal(size=(_FACES, _DIMENSION)))
        took = []
        for _ in range(_REPEATS):
            began = time.perf_counter()
            snapshot = gallery.snapshot("bench")
            found = decide_identities([[FaceObservation(probe, 0.9)] for probe in probes], snapshot, calibration)
            took.append(1000 * (time.perf_counter() - began))
            assert all(identity.decision == "match" for identity in found)
        rotate_seconds = _clock(gallery.rotate_key)
        reissue_seconds = _clock(gallery.reissue)
        size_mb = path.stat().st_size / 1e6
    return [
        f"{count} templates of {count // _PER_SUBJECT} subjects, {_DIMENSION}-d, sealed, {size_mb:.0f} MB",
        f"identify {_FACES} faces, one decision each: median {np.median(took):.1f} ms, 95 % "
        f"{np.quantile(took, 0.95):.1f} ms, least {min(took):.1f} ms, most {max(took):.1f} ms of {_REPEATS} "
        "(bar: 100 ms)",
        f"open and decrypt once: {load_seconds:.1f} s; enrol all: {enrol_seconds:.1f} s",
        f"rotate the master key: {rotate_seconds:.1f} s; reissue every template: {reissue_seconds:.1f} s",
    ]


def measure_protection(vectors: Rows, people: NDArray[np.str_], rng: np.random.Generator) -> list[str]:
    """Cosines before and after turning, and what a template of one key says about one of another key."""
    mated, other = _pairs(people, rng)
    losses, areas, plain_area = [], [], _area(_cosines(vectors, vectors, mated), _cosines(vectors, vectors, other))
    across_mated, across_other = [], []
    for _ in range(_KEYS):
        one, two = (make_rotation(make_key(), space="s", dimension=vectors.shape[1]) for _ in range(2))
        turned, elsewhere = rotate(vectors, one), rotate(vectors, two)
        losses.append(
            max(
                np.abs(_cosines(turned, turned, pairs) - _cosines(vectors, vectors, pairs)).max()
                for pairs in (mated, other)
            )
        )
        across_mated.append(_cosines(turned, elsewhere, mated))
        across_other.append(_cosines(turned, elsewhere, other))
        areas.append(_area(across_mated[-1], across_other[-1]))
    turned_area = _area(_cosines(turned, turned, mated), _cosines(turned, turned, other))
    return [
        f"{len(vectors)} faces of {len(set(people))} people, {len(mated)} mated and {len(other)} other pairs, "
        f"{_KEYS} pairs of keys",
        f"accuracy: cosines differ by at most {max(losses):.1e} (bar: 1e-6); AUC same person or not: plain "
        f"{plain_area:.6f}, protected {turned_area:.6f}",
        f"linkage across two keys: AUC {np.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f}; 0.5 is chance); "
        f"cosines of mated pairs {np.mean(across_mated):+.3f} ± {np.std(across_mated):.3f}, of others "
        f"{np.mean(across_other):+.3f} ± {np.std(across_other):.3f}",
        f"the same template under two keys: cosine {_same(vectors, one, two):+.3f} on average",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(prog="training.bench.gallery", description=__doc__.splitlines()[0])
    parser.add_argument("--templates", type=int, default=100_000)
    parser.add_argument("--faces", type=Path, help="a folder of pictures for each person")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(options.seed)
    if options.faces is None:
        people = np.repeat([f"p{k}" for k in range(500)], 2)
        centres = np.repeat(rng.normal(size=(500, _DIMENSION)), 2, axis=0)
        vectors = _unit(centres + 0.7 * rng.normal(size=centres.shape))
    else:
        vectors, people = _embed(options.faces)
    lines = ["; ".join(f"{name} {value}" for name, value in describe_machine().items()), f"seed {options.seed}"]
    lines += measure_protection(vectors, people, rng)
    lines += measure_speed(options.templates, rng)
    sys.stdout.write("\n".join(lines) + "\n")


def _embed(folder: Path) -> tuple[Rows, NDArray[np.str_]]:
    from training.metrics.faces import embed_pictures, open_embedder

    paths = sorted(folder.glob("*/*.jpg"))
    faces = embed_pictures(open_embedder("champion"), paths)
    return faces.vectors[faces.found], np.array([path.parent.name for path in paths])[faces.found]


def _pairs(people: NDArray[np.str_], rng: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    mated = [
        (int(first), int(second))
        for name in np.unique(people)
        for some in [np.flatnonzero(people == name)]
        for k, first in enumerate(some)
        for second in some[k + 1 : k + 4]
    ]
    drawn = rng.integers(len(people), size=(20 * len(mated), 2))
    return np.array(mated, np.intp), drawn[people[drawn[:, 0]] != people[drawn[:, 1]]]


def _cosines(one: Rows, two: Rows, pairs: NDArray[np.intp]) -> NDArray[np.float64]:
    cosines: NDArray[np.float64] = np.sum(one[pairs[:, 0]].astype(np.float64) * two[pairs[:, 1]], axis=1)
    return cosines


def _area(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Area under the ROC curve: how often a positive lies above a negative, ties counted half."""
    ranked = np.sort(negative)
    below, through = np.searchsorted(ranked, positive, "left"), np.searchsorted(ranked, positive, "right")
    return float(np.mean((below + through) / 2 / len(ranked)))


def _same(vectors: Rows, one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    return float(np.mean(np.sum(rotate(vectors, one) * rotate(vectors, two), axis=1)))


def _unit(rows: NDArray[np.floating]) -> Rows:
    unit: Rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _clock(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
