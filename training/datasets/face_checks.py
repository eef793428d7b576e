"""What makes a set of faces unfit to learn from or to measure on; each finding says which rows."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from training.datasets.face_chips import FaceChips

# Of 256 bits. Among 1,589 aligned photographs (LFW) two of one subject differ in 64 or more, of two in 41 or more;
# copies shrunk to 5/8, saved as JPEG of quality 40 and relit differ in 5 (median), 19 in 20 of them in at most 14.
NEAR_DUPLICATE_BITS = 15
_HASH_SIDE = 16
_BANDS = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason to refuse.

    Attributes:
        reason: A few words.
        rows: What it is about, as `side: subject picture`.
    """

    reason: str
    rows: tuple[str, ...]


def check_faces(sides: Mapping[str, FaceChips], *, pictures_needed: int = 1) -> list[Finding]:
    """Look for leaks and for what a loss cannot use.

    Args:
        sides: Faces of each split, by its name.
        pictures_needed: Of every subject of the side "train": 2 where a loss compares pictures of one subject.

    Returns:
        Findings; none means the faces may be used.
    """
    return [
        *_shared_subjects(sides),
        *_near_duplicates(sides),
        *_lonely_subjects(sides, pictures_needed),
    ]


def hash_faces(faces: FaceChips) -> NDArray[np.bool_]:
    """(N, 256) perceptual hashes: whether brightness rises from each place of a coarse grid to its right neighbour.

    Source: dHash (N. Krawetz, 2013).
    """
    hashes = np.zeros((len(faces), _HASH_SIDE**2), bool)
    for row in range(len(faces)):
        grey = faces.rows(np.array([row]))[0].astype(np.float32).mean(-1)
        hashes[row] = _coarse_rises(grey)
    return hashes


def _coarse_rises(grey: NDArray[np.float32]) -> NDArray[np.bool_]:
    edges_down = np.linspace(0, grey.shape[0], _HASH_SIDE + 1).astype(int)[:-1]
    edges_across = np.linspace(0, grey.shape[1], _HASH_SIDE + 2).astype(int)[:-1]
    cells = np.add.reduceat(np.add.reduceat(grey, edges_down, axis=0), edges_across, axis=1)
    sizes = np.diff([*edges_across, grey.shape[1]])
    rises: NDArray[np.bool_] = np.diff(cells / sizes, axis=1) > 0
    return rises.reshape(-1)


def _shared_subjects(sides: Mapping[str, FaceChips]) -> Iterator[Finding]:
    for (one, on_one), (other, on_other) in combinations(sides.items(), 2):
        shared = set(on_one.subjects) & set(on_other.subjects)
        if shared:
            rows = [*_rows_of(one, on_one, shared), *_rows_of(other, on_other, shared)]
            yield Finding(f"{len(shared)} subject(s) on both {one} and {other}", tuple(rows))


def _near_duplicates(sides: Mapping[str, FaceChips]) -> Iterator[Finding]:
    hashes = {name: hash_faces(faces) for name, faces in sides.items()}
    for one, other in combinations(sides, 2):
        pairs = _close_pairs(hashes[one], hashes[other])
        if pairs:
            rows = [
                f"{one}: {sides[one].records[a].picture} = {other}: {sides[other].records[b].picture}" for a, b in pairs
            ]
            yield Finding(f"{len(pairs)} near duplicate(s) across {one} and {other}", tuple(rows))


def _close_pairs(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs at most NEAR_DUPLICATE_BITS apart. That few bits leave at least one of 16 bands equal: only those meet."""
    found: set[tuple[int, int]] = set()
    for band in range(_BANDS):
        columns = slice(band * one.shape[1] // _BANDS, (band + 1) * one.shape[1] // _BANDS)
        by_key: dict[bytes, list[int]] = defaultdict(list)
        for row, bits in enumerate(one[:, columns]):
            by_key[bits.tobytes()].append(row)
        for row, bits in enumerate(other[:, columns]):
            for candidate in by_key.get(bits.tobytes(), ()):
                if np.count_nonzero(one[candidate] != other[row]) <= NEAR_DUPLICATE_BITS:
                    found.add((candidate, row))
    return sorted(found)


def _lonely_subjects(sides: Mapping[str, FaceChips], needed: int) -> Iterator[Finding]:
    train = sides.get("train")
    if train is None:
        return
    counts = Counter(record.subject_id for record in train.records)
    lonely = {subject for subject, count in counts.items() if count < needed}
    if lonely:
        yield Finding(
            f"{len(lonely)} subject(s) with fewer than the {needed} pictures the loss needs",
            tuple(_rows_of("train", train, lonely)),
        )


def _rows_of(side: str, faces: FaceChips, subjects: set[str]) -> Iterator[str]:
    for record in faces.records:
        if record.subject_id in subjects:
            yield f"{side}: {record.subject_id} {record.picture}"
