"""Drift: how far recent answers lie from those a model was measured on."""

import math
import threading
from bisect import bisect_right
from collections import Counter, deque

from services.contracts.card import Reference

_WINDOW = 1000
_ENOUGH = 100
# A bin nobody fell into counts as half a value: the logarithm of an empty share is no number.
_EMPTY = 0.5


class Drift:
    """The population stability index of the newest thousand values. Safe to use from several threads.

    0 is no drift; above 0.25 the population is commonly taken to have changed.

    Args:
        reference: How the values were spread when the model was measured.

    Source: Siddiqi, Credit Risk Scorecards, 2006 (population stability index).
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._bins: deque[int] = deque(maxlen=_WINDOW)
        self._lock = threading.Lock()

    def add(self, value: float) -> float | None:
        """Take a value in; the index, or None while there are too few of them to say."""
        with self._lock:
            self._bins.append(bisect_right(self._reference.edges, value))
            if len(self._bins) < _ENOUGH:
                return None
            counts = Counter(self._bins)
            return sum(
                _term(max(counts[index], _EMPTY) / len(self._bins), max(share, _EMPTY / _WINDOW))
                for index, share in enumerate(self._reference.shares)
            )


def _term(found: float, expected: float) -> float:
    return (found - expected) * math.log(found / expected)
