"""Splits that share no person: a network that has met a face or a gait before proves nothing on it."""

from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np

from services.contracts.errors import BadInput


def pick_subjects(subjects: Collection[str], share: float, seed: int) -> frozenset[str]:
    """Draw a share of the subjects, at least one and never all; the same seed draws the same people.

    Raises:
        BadInput: Fewer than two subjects, so no split is disjoint.
    """
    ordered = sorted(subjects)
    if len(ordered) < 2:
        raise BadInput(f"{len(ordered)} subject(s) cannot be split into disjoint sides: render at least two")
    count = min(max(1, round(share * len(ordered))), len(ordered) - 1)
    return frozenset(np.random.default_rng(seed).permutation(ordered)[:count].tolist())


def refuse_leak(sides: Mapping[str, Collection[str]]) -> None:
    """Check that no subject stands on two sides.

    Args:
        sides: Name of each side to the subjects on it.

    Raises:
        BadInput: Somebody does; names them and the sides.
    """
    for (one, on_one), (other, on_other) in combinations(sides.items(), 2):
        shared = sorted(set(on_one) & set(on_other))
        if shared:
            raise BadInput(f"{', '.join(shared)} on both sides, {one} and {other}: accuracy there would be a leak")
