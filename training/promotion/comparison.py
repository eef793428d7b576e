"""Is the candidate better than the champion? Both answer the same questions; whole groups are redrawn together."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Tally:
    """A ratio counted group by group: of hits over chances. Rows of one group are not independent.

    Attributes:
        groups: By group, hits and chances.
    """

    groups: Mapping[str, tuple[float, float]]

    @property
    def ratio(self) -> float:
        """Over all groups; nan without a chance."""
        chances = sum(chances for _, chances in self.groups.values())
        return sum(hits for hits, _ in self.groups.values()) / chances if chances else float("nan")

    @property
    def chances(self) -> float:
        """Over all groups."""
        return sum(chances for _, chances in self.groups.values())


@dataclass(frozen=True, slots=True)
class Report:
    """What one model reaches at a fixed protocol.

    Attributes:
        measures: By name; the first is the one a candidate must be better in.
        subgroups: The first measure on parts of the material.
        protocol: On what, and how.
    """

    measures: Mapping[str, Tally]
    subgroups: Mapping[str, Tally]
    protocol: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Candidate minus champion, with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def compare(candidate: Tally, champion: Tally, *, draws: int, seed: int) -> Difference:
    """Paired percentile bootstrap of the difference of two ratios.

    Every draw redraws the groups once and counts both models on the same ones. Draws without a chance are left out.

    Raises:
        ValueError: The two were counted on different groups, or on none.

    Source: Efron & Tibshirani 1993, ch. 13 (percentile interval); Field & Welsh 2007 (cluster bootstrap).
    """
    names = sorted(candidate.groups)
    if names != sorted(champion.groups) or not names:
        raise ValueError("a paired comparison needs both models on the same groups, and at least one")
    counts_2G2 = np.array([[tally.groups[name] for name in names] for tally in (candidate, champion)], np.float64)
    drawn_DG = np.random.default_rng(seed).integers(len(names), size=(draws, len(names)))
    sums_2D2 = counts_2G2[:, drawn_DG].sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios_2D = sums_2D2[..., 0] / sums_2D2[..., 1]
    differences = ratios_2D[0] - ratios_2D[1]
    low, high = np.quantile(differences[np.isfinite(differences)], [0.025, 0.975])
    return Difference(candidate.ratio - champion.ratio, float(low), float(high))
