"""Installed embedders: how well they verify, and how many faces a second they take."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.gallery.calibration import search_random_gallery, tabulate
from services.models.engine import load_network
from services.models.store import StoredModel
from training.bench.table import Bar, BenchTable, Cell, Spread
from training.metrics.faces import embed_pictures, open_embedder
from training.metrics.identification import list_pictures
from training.metrics.models import find_model
from training.metrics.verification import FALSE_ACCEPTANCES, read_pairs, verify

REFERENCE_ACCURACY, CHAMPION_ACCURACY = 0.98, 0.95
CHAMPION_SPEEDUP, CHAMPION_MEGABYTES = 5.0, 12.0
FPIRS = (0.1, 0.01, 0.003)
# Subjects enrolled, and pictures pooled into one probe.
_SEARCHES = ((10, 1), (10, 3), (100, 1), (100, 3))
# One to enrol and three to pool.
_LEAST_PICTURES = 4
_BATCH = 32


def measure_verification(models: Sequence[str], pairs_path: Path, root: Path) -> BenchTable:
    """Every model on the same pairs; the first is held to the reference's bar, the others to the champion's."""
    pairs = read_pairs(pairs_path)
    rows: list[tuple[Cell, ...]] = []
    bars, protocol = [], ""
    for number, reference in enumerate(models):
        embedder = open_embedder(reference)
        answer = verify(embedder, pairs, root)
        name, accuracy, (low, high) = embedder.card.name, answer["accuracy"], answer["accuracy_ci95"]
        tar = [answer["tar_at_far"].get(str(far), "-") for far in FALSE_ACCEPTANCES]
        undetected = f"{answer['pictures_undetected']} of {answer['pictures']}"
        rows.append(
            (f"{name}@{embedder.card.version}", f"{accuracy:.4f}", f"{low:.4f} to {high:.4f}", *tar, undetected)
        )
        bar = CHAMPION_ACCURACY if number else REFERENCE_ACCURACY
        bars.append(Bar(f"accuracy of {name}", f"{accuracy:.4f}", f">= {bar}", accuracy >= bar))
        protocol = answer["protocol"]
    return BenchTable(
        name="verification",
        title="verification: are these two faces one person",
        protocol=f"{len(pairs.same)} pairs of {pairs_path.name}; our detector and aligner; {protocol}.",
        columns=("model", "accuracy", "95 % interval", *(f"TAR@{far}" for far in FALSE_ACCEPTANCES), "undetected"),
        rows=tuple(rows),
        bars=tuple(bars),
    )


def measure_identification(models: Sequence[str], cohort: Path, *, galleries: int) -> BenchTable:
    """Enrol random people of a cohort and search with everybody else: who is found, who is named for another."""
    pictures = list_pictures(cohort)
    counts = Counter(path.parent.name for path in pictures)
    paths = [path for path in pictures if counts[path.parent.name] >= _LEAST_PICTURES]
    people = sum(count >= _LEAST_PICTURES for count in counts.values())
    rows: list[tuple[Cell, ...]] = []
    for reference in models:
        embedder = open_embedder(reference)
        faces = embed_pictures(embedder, paths)
        subjects = np.array([path.parent.name for path in paths])[faces.found]
        for gallery_size, probe_pictures in _SEARCHES:
            rng = np.random.default_rng(0)
            searches = [
                search_random_gallery(
                    faces.vectors[faces.found],
                    subjects,
                    gallery_size=gallery_size,
                    templates=1,
                    probe_pictures=probe_pictures,
                    rng=rng,
                )
                for _ in range(galleries)
            ]
            first = float(np.mean([search.known_right.mean() for search in searches]))
            missed = [f"{point.fnir:.3f}" if point.resolved else "-" for point in tabulate(searches, FPIRS)]
            rows.append((embedder.card.name, gallery_size, probe_pictures, f"{first:.3f}", *missed))
    return BenchTable(
        name="identification",
        title="identification: who of a gallery is this, or nobody",
        protocol=(
            f"{len(paths)} pictures of {people} people of {cohort.name} with {_LEAST_PICTURES} or more; {galleries} "
            "random galleries a row, one picture enrolled of each; everybody else searches once as a stranger. FNIR: "
            "enrolled people missed; a dash where a gallery met too few strangers."
        ),
        columns=("model", "gallery", "pictures pooled", "rank 1", *(f"FNIR@FPIR {fpir}" for fpir in FPIRS)),
        rows=tuple(rows),
        bars=(),
    )


def measure_throughput(models: Sequence[str], *, runs: int) -> BenchTable:
    """Faces a CPU second of every model, in turns, so that a busy machine slows all alike."""
    found = [find_model(reference, "face_embedding") for reference in models]
    networks = [load_network(model.card, model.weights_path, threads=1) for model in found]
    batches = [_noise(model) for model in found]
    seconds: list[list[float]] = [[] for _ in found]
    # The first round warms caches up.
    for turn in range(runs + 1):
        for taken, network, batch in zip(seconds, networks, batches, strict=True):
            start = time.process_time()
            network.run(batch)
            if turn:
                taken.append(time.process_time() - start)
    spreads = [Spread.of([_BATCH / second for second in taken]) for taken in seconds]
    # A round's ratio compares neighbours in time; its median is steadier than the ratio of medians.
    ratios = [Spread.of([a / b for a, b in zip(seconds[0], taken, strict=True)]) for taken in seconds]
    sizes = [model.card.weights.size_bytes / 1e6 for model in found]
    rows: list[tuple[Cell, ...]] = [
        (
            m.card.name,
            mb,
            s.median,
            f"{s.minimum:.0f} to {s.maximum:.0f}",
            r.median,
            f"{r.minimum:.1f} to {r.maximum:.1f}",
        )
        for m, mb, s, r in zip(found, sizes, spreads, ratios, strict=True)
    ]
    bars = []
    for model, mb, ratio in zip(found[1:], sizes[1:], ratios[1:], strict=True):
        name, faster = model.card.name, ratio.median >= CHAMPION_SPEEDUP
        bars.append(Bar(f"{name}, times the reference", ratio.median, f">= {CHAMPION_SPEEDUP:g}", faster))
        bars.append(Bar(f"{name}, MB", mb, f"<= {CHAMPION_MEGABYTES:g}", mb <= CHAMPION_MEGABYTES))
    return BenchTable(
        name="throughput",
        title="throughput: aligned faces a second",
        protocol=(
            "OpenVINO, each network as it was exported (8-bit arithmetic where its card says so), one thread, "
            f"batches of {_BATCH} random chips, {runs} rounds of all in turn; faces a second of CPU time, "
            "which other work on the machine disturbs least."
        ),
        columns=("model", "MB", "faces/s, median", "range", "times the first", "range"),
        rows=tuple(rows),
        bars=tuple(bars),
    )


def _noise(model: StoredModel) -> NDArray[np.float32]:
    assert model.card.chip is not None  # the card's validator
    side_px = model.card.chip.size_px
    return np.random.default_rng(0).uniform(0, 255, (_BATCH, 3, side_px, side_px)).astype(np.float32)
