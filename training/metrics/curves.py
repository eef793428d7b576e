"""Curves of a verification or an identification test, and the figures read off them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ErrorCurve:
    """Errors at every threshold where one of them changes, from strict to lenient.

    Attributes:
        thresholds: (T,) falling; a pair at or above is accepted.
        false_acceptance: (T,) share of impostors accepted, growing.
        false_rejection: (T,) share of genuine pairs rejected, falling.

    Source: ISO/IEC 19795-1 (false match rate, false non-match rate).
    """

    thresholds: Floats
    false_acceptance: Floats
    false_rejection: Floats

    @property
    def equal_error_rate(self) -> float:
        """Where both errors meet, between the nearest two points of the curve."""
        gap = self.false_acceptance - self.false_rejection
        after = int(np.argmax(gap >= 0))
        if after == 0:
            return float((self.false_acceptance[0] + self.false_rejection[0]) / 2)
        share = gap[after - 1] / (gap[after - 1] - gap[after])
        lower, upper = self.false_acceptance[after - 1], self.false_acceptance[after]
        return float(lower + share * (upper - lower))


def trace_errors(similarity_N: Floats, same_N: NDArray[np.bool_]) -> ErrorCurve:
    """The curve of some pairs.

    Args:
        similarity_N: (N,).
        same_N: (N,) whether each shows one subject; both kinds must be there.

    Raises:
        ValueError: A kind of pair is missing.
    """
    if same_N.all() or not same_N.any():
        raise ValueError("a curve needs pairs of one subject and pairs of two")
    order = np.argsort(similarity_N)[::-1]
    ranked, same = similarity_N[order], same_N[order]
    # Ties fall on one side of any threshold: only the last of them is a point of the curve.
    last = np.append(ranked[1:] != ranked[:-1], True)
    accepted_genuine = np.cumsum(same)[last] / same.sum()
    accepted_impostors = np.cumsum(~same)[last] / (~same).sum()
    return ErrorCurve(
        thresholds=np.concatenate([[np.inf], ranked[last]]),
        false_acceptance=np.concatenate([[0.0], accepted_impostors]),
        false_rejection=1 - np.concatenate([[0.0], accepted_genuine]),
    )
