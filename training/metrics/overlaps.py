"""Actions that overlap: each is a question of its own, with its own probability, threshold and precision.

Shape legend: N people at one time · K actions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from training.metrics.intervals import bootstrap_interval

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

_BINS = 15


@dataclass(frozen=True, slots=True)
class OverlapScores:
    """Measures of N times K answers; shares of 1.

    Attributes:
        ap: (K,) average precision of each action; nan where nobody does it.
        mean_ap, mean_ap_low, mean_ap_high: Their mean and its 95 % interval, clustered by group.
        chance_ap: The mean a blind ranking has: how often each action is done.
        precision, recall, f1: (K,) of what is said; nan where it is never said, never done, or neither.
        macro_f1: Mean of f1.
        calibration_error: Expected, 15 bins, over every question.
    """

    ap: Floats
    mean_ap: float
    mean_ap_low: float
    mean_ap_high: float
    chance_ap: float
    precision: Floats
    recall: Floats
    f1: Floats
    macro_f1: float
    calibration_error: float


def score_overlaps(
    probabilities_NK: Floats,
    said_NK: Truths,
    is_done_NK: Truths,
    groups_N: NDArray[np.str_],
    *,
    draws: int = 200,
    seed: int = 0,
) -> OverlapScores:
    """Measure answers to which several actions may be the truth.

    Args:
        probabilities_NK: Of each action by itself.
        said_NK: Which are said.
        is_done_NK: Which are done; at least one action by somebody.
        groups_N: Rows of one group are not independent.
        draws: Of the bootstrap over groups.
        seed: Decides them.
    """
    right_K = (said_NK & is_done_NK).sum(axis=0)
    said_K, done_K = said_NK.sum(axis=0), is_done_NK.sum(axis=0)
    ap_K = average_precisions(probabilities_NK, is_done_NK)
    low, high = bootstrap_interval(
        lambda rows: _mean(average_precisions(probabilities_NK[rows], is_done_NK[rows])),
        groups_N,
        draws=draws,
        seed=seed,
    )
    f1_K = _share(2 * right_K, said_K + done_K)
    return OverlapScores(
        ap=ap_K,
        mean_ap=_mean(ap_K),
        mean_ap_low=low,
        mean_ap_high=high,
        chance_ap=float(is_done_NK.mean(axis=0)[done_K > 0].mean()),
        precision=_share(right_K, said_K),
        recall=_share(right_K, done_K),
        f1=f1_K,
        macro_f1=_mean(f1_K),
        calibration_error=_calibration_error(probabilities_NK.ravel(), is_done_NK.ravel()),
    )


def average_precisions(scores_NK: Floats, is_done_NK: Truths) -> Floats:
    """(K,) average precision of each action; nan where nobody does it."""
    return np.array(
        [
            average_precision_score(done_N, scores_N) if done_N.any() else np.nan
            for done_N, scores_N in zip(is_done_NK.T, scores_NK.T, strict=True)
        ]
    )


def fit_chances(logits_NK: Floats, is_done_NK: Truths) -> tuple[Floats, Floats]:
    """Scales (K,) and shifts (K,) under which an action's logits say how often it is done.

    An action that is always or never done in these rows keeps its logits.

    Source: Platt 1999, "Probabilistic outputs for support vector machines"; here by an L2-regularised fit.
    """
    scales_K, shifts_K = np.ones(logits_NK.shape[1]), np.zeros(logits_NK.shape[1])
    for action in np.flatnonzero(is_done_NK.any(axis=0) & ~is_done_NK.all(axis=0)):
        fitted = LogisticRegression().fit(logits_NK[:, [action]], is_done_NK[:, action])
        # Noise may ask for a negative scale; an answer is never turned into its opposite.
        scales_K[action] = max(fitted.coef_[0, 0], 0.05)
        shifts_K[action] = fitted.intercept_[0]
    return scales_K, shifts_K


def to_chances(logits_NK: Floats, scales_K: Floats, shifts_K: Floats) -> Floats:
    """Probabilities (N, K) of each action by itself."""
    probabilities_NK: Floats = expit(logits_NK * scales_K + shifts_K)
    return probabilities_NK


def choose_thresholds(probabilities_NK: Floats, is_done_NK: Truths) -> Floats:
    """(K,): for each action the probability from which on saying it has the best F1; one that nobody does is not said.

    Source: Lipton et al. 2014, arXiv:1402.1892 (thresholds that maximise F1).
    """
    thresholds_K = np.ones(probabilities_NK.shape[1])
    for action, (chance_N, done_N) in enumerate(zip(probabilities_NK.T, is_done_NK.T, strict=True)):
        if not done_N.any():
            continue
        order_N = np.argsort(-chance_N, kind="stable")
        f1_N = 2 * np.cumsum(done_N[order_N]) / (np.arange(1, len(order_N) + 1) + done_N.sum())
        # Equals are said together.
        last_N = np.append(np.diff(chance_N[order_N]) != 0, True)
        best = int(np.argmax(np.where(last_N, f1_N, -1)))
        # As far from what is said as from what is not.
        thresholds_K[action] = chance_N[order_N[best : best + 2]].mean()
    return thresholds_K


def _calibration_error(chance_N: Floats, done_N: Truths) -> float:
    bin_N = np.minimum((chance_N * _BINS).astype(int), _BINS - 1)
    inside = [bin_N == b for b in np.unique(bin_N)]
    return float(sum(abs(done_N[rows].mean() - chance_N[rows].mean()) * rows.mean() for rows in inside))


def _share(part_K: NDArray[np.int64], whole_K: NDArray[np.int64]) -> Floats:
    shares_K: Floats = np.divide(part_K, whole_K, out=np.full(len(whole_K), np.nan), where=whole_K > 0)
    return shares_K


def _mean(values_K: Floats) -> float:
    return float(np.nanmean(values_K))
