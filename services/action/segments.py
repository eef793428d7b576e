"""Window probabilities of one track become action segments.

Windows overlap, so every instant is covered by several; their mean is what the network thinks of
that instant. Hysteresis then keeps a segment open through a brief doubt (Canny 1986, in time).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.contracts.action import Action, ActionSegment
from services.contracts.card import ActionCalibration


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
    window is trained to name). A segment opens when the likeliest action reaches
    `enter_probability` and stays open while that action holds `leave_probability` and no other
    action could open. Segments shorter than `minimum_seconds` are dropped.

    Args:
        track_id: Whose windows these are.
        windows: See WindowProbabilities.
        classes: Action names, in the order of the columns.
        calibration: The card's thresholds.

    Returns:
        Segments in time order, not overlapping; each probability is the segment's time-weighted mean.
    """
    if len(windows.start_seconds) == 0:
        return []
    edges = np.unique(np.concatenate([windows.start_seconds, windows.end_seconds]).round(6))
    cells = _cell_probabilities(windows, edges)
    segments = []
    for action, first, last in _open_runs(cells, calibration):
        start, end = float(edges[first]), float(edges[last + 1])
        if end - start < calibration.minimum_seconds:
            continue
        lengths = np.diff(edges[first : last + 2])
        probability = float(np.average(cells[first : last + 1, action], weights=lengths))
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


def _open_runs(cells: NDArray[np.float64], calibration: ActionCalibration) -> list[tuple[int, int, int]]:
    """(action, first cell, last cell) for every run the hysteresis keeps open."""
    runs: list[tuple[int, int, int]] = []
    current, first = -1, 0
    for index, row in enumerate(cells):
        best = int(row.argmax())
        opens = row[best] >= calibration.enter_probability
        holds = current >= 0 and row[current] >= calibration.leave_probability
        if (opens and best != current) or not (opens or holds):
            if current >= 0:
                runs.append((current, first, index - 1))
            current, first = (best if opens else -1), index
    if current >= 0:
        runs.append((current, first, len(cells) - 1))
    return runs
