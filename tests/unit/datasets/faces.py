"""Small sets of made-up faces."""

import numpy as np

from training.datasets.face_chips import FaceChips
from training.datasets.face_manifest import FaceRecord, number_subjects

CHIP_PX, CANVAS_PX = 24, 30


def make_faces(subjects=4, pictures=3, seed=0, prefix="s"):
    """Noise with a pattern of its own for every subject, which a network can tell apart."""
    rng = np.random.default_rng(seed)
    names = [f"{prefix}{index:02d}" for index in range(subjects) for _ in range(pictures)]
    patterns = {name: rng.integers(0, 256, (6, 6, 3)) for name in sorted(set(names))}
    pixels = [
        np.clip(np.kron(patterns[name], np.ones((5, 5, 1))) + rng.normal(0, 20, (CANVAS_PX, CANVAS_PX, 3)), 0, 255)
        for name in names
    ]
    records = [
        FaceRecord(subject_id=name, picture=f"{name}/{row}.png", source="noise", licence="Apache-2.0")
        for row, name in enumerate(names)
    ]
    ordered, classes = number_subjects(names)
    canvases = np.stack(pixels).astype(np.uint8)
    # Two shards, as from disk.
    return FaceChips(records, [canvases[:5], canvases[5:]], CHIP_PX, np.array(classes, np.int64), ordered)
