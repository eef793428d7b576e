"""Splits that share no person: a network that has met a face or a gait before proves nothing on it."""

from collections.abc import Collection, Mapping
from itertools import combinations

import numpy as np

from services.contracts.errors import BadInput


def pick_clips(casts: Mapping[str, Collection[str]], share: float, seed: int) -> frozenset[str]:
    """Draw about a share of the clips such that nobody in them is in any other clip.

    Clips that share a person, directly or through others, go together. At least one such group is
    drawn and never all; the same seed draws the same clips.

    Args:
        casts: Name of each clip to its subjects.
        share: Of the clips.
        seed: Decides the draw.

    Raises:
        BadInput: All clips hang together, so no split is disjoint.
    """
    groups: list[tuple[set[str], set[str]]] = []
    for clip in sorted(casts):
        clips, people = {clip}, set(casts[clip])
        apart = []
        for group in groups:
            if group[1] & people:
                clips, people = clips | group[0], people | group[1]
            else:
                apart.append(group)
        groups = [*apart, (clips, people)]
    if len(groups) < 2:
        raise BadInput(
            f"every one of {len(casts)} clip(s) shares people with the others: render some with other people"
        )
    picked: set[str] = set()
    for index in np.random.default_rng(seed).permutation(len(groups))[:-1]:
        picked |= groups[index][0]
        if len(picked) >= share * len(casts):
            break
    return frozenset(picked)


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
