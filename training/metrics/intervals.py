"""Confidence intervals that respect groups: clips of one scene, pairs of one fold, are not independent."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    groups_N: NDArray[np.str_],
    *,
    draws: int = 1000,
    seed: int = 0,
    coverage: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap that redraws whole groups.

    Args:
        statistic: Of the rows it is handed (with repeats), a number.
        groups_N: (N,) group of each row; all different when rows are independent.
        draws: Resamples.
        seed: Decides them.
        coverage: Share of resamples inside the interval.

    Returns:
        Lower and upper end.

    Raises:
        ValueError: No rows.

    Source: Field & Welsh 2007, "Bootstrapping clustered data" (cluster bootstrap).
    """
    if len(groups_N) == 0:
        raise ValueError("no rows, so no interval")
    names, group_of_row = np.unique(groups_N, return_inverse=True)
    members = [np.flatnonzero(group_of_row == g) for g in range(len(names))]
    rng = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([members[g] for g in rng.integers(len(names), size=len(names))])) for _ in range(draws)
    ]
    lower, upper = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2])
    return float(lower), float(upper)
