"""Window probabilities of one track become action segments.

Windows overlap, so every instant is covered by several; their mean is what the network thinks of that instant. Of
all ways to name the instants, the likeliest is taken in which every change of action has a price, so that a brief
doubt changes nothing and a change that lasts is cut where it happens.

Source: Viterbi 1967 (the search); Potts 1952 (one price for every change).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contracts.action import Action, ActionSegment
from services.contracts.card import ActionCalibration

# However sure a window is that something is not done, others may outvote it.
_LEAST_PROBABILITY = 1e-3


@dataclass(frozen=True, slots=True)
class WindowProbabilities:
    """What a network said of the windows of one track, in time order.

    Attributes:
        start_seconds: (N,) float64, where each window starts.
        end_seconds: (N,) float64, where it ends.
        probabilities: (N, C) float64, calibrated; rows sum to 1.
    """

    start_seconds: NDArray[np.float64]
    end_seconds: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    def __post_init__(self) -> None:
        rows = len(self.start_seconds)
        if self.probabilities.ndim != 2 or not len(self.end_seconds) == len(self.probabilities) == rows:
            raise ValueError(
                f"{rows} starts, {len(self.end_seconds)} ends, probabilities {self.probabilities.shape}: "
                "expected (N,), (N,), (N, C)"
            )


def find_segments(
    track_id: str, windows: WindowProbabilities, classes: Sequence[str], calibration: ActionCalibration
) -> list[ActionSegment]:
    """Smooth overlapping windows into half-open segments, one action at a time.

    Time is cut at every window's edges. A cell's probabilities are the mean over the windows that
    cover it, each weighted by how near the cell lies to that window's middle (the middle is what a
    window is trained to name). The actions named are those with the largest sum of log probability times seconds,
    less `switch_cost` for every change; where no window reaches, segments end. Segments that last less than
    `minimum_seconds`, or whose mean probability is below `minimum_probability`, are dropped.

    Args:
        track_id: Whose windows these are.
        windows: See WindowProbabilities.
        classes: Action names, in the order of the columns.
        calibration: The card's limits.

    Returns:
        Segments in time order, not overlapping; each probability is the segment's time-weighted mean.
    """
    if len(windows.start_seconds) == 0:
        return []
    edges = np.unique(np.concatenate([windows.start_seconds, windows.end_seconds]).round(6))
    cells = _cell_probabilities(windows, edges)
    lengths = np.diff(edges)
    segments = []
    for action, first, last in _name_cells(cells, lengths, calibration.switch_cost):
        start, end = float(edges[first]), float(edges[last + 1])
        probability = float(np.average(cells[first : last + 1, action], weights=lengths[first : last + 1]))
        if end - start < calibration.minimum_seconds or probability < calibration.minimum_probability:
            continue
        segments.append(
            ActionSegment(
                track_id=track_id,
                action=Action(name=classes[action], probability=round(min(probability, 1.0), 4)),
                start_seconds=round(start, 3),
                end_seconds=round(end, 3),
            )
        )
    return segments


def _cell_probabilities(windows: WindowProbabilities, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """(cells, C): the weighted mean of the windows over each cell; zeros where no window reaches."""
    middles = (edges[:-1] + edges[1:]) / 2
    sums = np.zeros((len(middles), windows.probabilities.shape[1]))
    weights = np.zeros((len(middles), 1))
    # A window covers a handful of cells: a loop over windows stays linear on an hour-long track.
    for start, end, row in zip(windows.start_seconds, windows.end_seconds, windows.probabilities, strict=True):
        first, last = np.searchsorted(middles, (start, end))
        nearness = 1 - np.abs(middles[first:last, None] - (start + end) / 2) / ((end - start) / 2)
        sums[first:last] += nearness * row
        weights[first:last] += nearness
    return np.divide(sums, weights, out=sums, where=weights > 0)


def _name_cells(
    cells: NDArray[np.float64], lengths: NDArray[np.float64], switch_cost: float
) -> list[tuple[int, int, int]]:
    """(action, first cell, last cell) for every run of one action; cells that no window covers are in none."""
    covered = cells.sum(axis=1) > 0
    gains = np.log(np.maximum(cells, _LEAST_PROBABILITY)) * lengths[:, None]
    # Best sum of all ways that end in an action, and the action each of them came from.
    sums = np.zeros(cells.shape[1])
    came_from = np.empty(cells.shape, np.intp)
    # Unseen, anybody may have begun anything.
    for index, (gain, cost) in enumerate(zip(gains, switch_cost * covered, strict=True)):
        best = int(sums.argmax())
        stays = sums >= sums[best] - cost
        came_from[index] = np.where(stays, np.arange(len(sums)), best)
        sums = np.where(stays, sums, sums[best] - cost) + gain
    actions = np.empty(len(cells), np.intp)
    action = int(sums.argmax())
    for index in range(len(cells) - 1, -1, -1):
        actions[index] = action
        action = int(came_from[index, action])
    named = np.where(covered, actions, -1)
    starts = np.flatnonzero(np.diff(named, prepend=-2))
    return [
        (int(named[first]), int(first), int(after) - 1)
        for first, after in zip(starts, [*starts[1:], len(named)], strict=True)
        if named[first] >= 0
    ]
