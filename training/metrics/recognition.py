"""How often an action network is right, and whether its probabilities mean what they say.

    python -m training.metrics.recognition --clips CSV --model NAME|CARD --json
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


def softmax(logits_NK: NDArray[np.floating], temperature: float = 1.0) -> Floats:
    """Probabilities (N, K), float64, of logits divided by a temperature."""
    scaled_NK = logits_NK.astype(np.float64) / temperature
    powers_NK = np.exp(scaled_NK - scaled_NK.max(axis=1, keepdims=True))
    probabilities_NK: Floats = powers_NK / powers_NK.sum(axis=1, keepdims=True)
    return probabilities_NK


def count_confusion(truth_N: Rows, answer_N: Rows, classes: int) -> Rows:
    """(K, K) counts: row the truth, column the answer."""
    confusion_KK = np.zeros((classes, classes), np.int64)
    np.add.at(confusion_KK, (truth_N, answer_N), 1)
    return confusion_KK


def f1_by_class(confusion_KK: Rows) -> Floats:
    """(K,) harmonic mean of precision and recall; nan for a class neither true nor answered."""
    right_K = np.diag(confusion_KK).astype(np.float64)
    total_K = confusion_KK.sum(axis=0) + confusion_KK.sum(axis=1)
    return np.divide(2 * right_K, total_K, out=np.full(len(right_K), np.nan), where=total_K > 0)


def calibration_error(probabilities_NK: Floats, truth_N: Rows, bins: int = 15) -> float:
    """Expected calibration error, 0 to 1: how far confidence and accuracy lie apart, over equal-width bins.

    Source: Guo et al. 2017, arXiv:1706.04599 (ECE, 15 bins).
    """
    confidence_N = probabilities_NK.max(axis=1)
    right_N = probabilities_NK.argmax(axis=1) == truth_N
    bin_N = np.minimum((confidence_N * bins).astype(int), bins - 1)
    gaps = [
        abs(right_N[bin_N == b].mean() - confidence_N[bin_N == b].mean()) * np.mean(bin_N == b)
        for b in np.unique(bin_N)
    ]
    return float(sum(gaps))


def fit_temperature(logits_NK: NDArray[np.floating], truth_N: Rows) -> float:
    """The temperature, 0.05 to 20, under which the truth is likeliest.

    Source: Guo et al. 2017, arXiv:1706.04599 (temperature scaling).
    """

    def surprise(log_temperature: float) -> float:
        probabilities_NK = softmax(logits_NK, float(np.exp(log_temperature)))
        return float(-np.log(probabilities_NK[np.arange(len(truth_N)), truth_N] + 1e-12).mean())

    found = minimize_scalar(surprise, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(found.x))
