"""What a table of probabilities is worth: top-k, by class, ranked, calibrated, and when the least sure abstain."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from training.metrics.intervals import bootstrap_interval
from training.metrics.recognition import calibration_error, count_confusion, f1_by_class, swept_calibration_error

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AnswerScores:
    """Measures of N answers among K actions; shares of 1.

    Attributes:
        top1, top1_low, top1_high: Accuracy and its 95 % interval, clustered by group.
        top5: Truth among the five likeliest (all, where there are fewer).
        mean_class: Accuracy of each action, averaged.
        macro_f1: F1 of each action, averaged.
        mean_ap: Average precision of each action against the rest, averaged.
        auc: Area under the ROC curve where there are two actions, else the mean one against the rest.
        auc_low, auc_high: Its 95 % interval, clustered by group; redraws that hold one action only are left out.
        calibration_error: Expected, 15 bins of equal width.
        swept_calibration_error: Expected, as many equally filled bins as the answers bear.
        top1_of_surest: Accuracy when the least sure tenth abstains.
        confusion: (K, K): truth in rows.
    """

    top1: float
    top1_low: float
    top1_high: float
    top5: float
    mean_class: float
    macro_f1: float
    mean_ap: float
    auc: float
    auc_low: float
    auc_high: float
    calibration_error: float
    swept_calibration_error: float
    top1_of_surest: float
    confusion: Rows


def score_answers(
    probabilities_NK: Floats, truth_N: Rows, groups_N: NDArray[np.str_], *, draws: int = 1000, seed: int = 0
) -> AnswerScores:
    """Measure answers whose truth is one action each.

    Args:
        probabilities_NK: Rows sum to 1.
        truth_N: Index of the action.
        groups_N: Rows of one group are not independent.
        draws: Of the bootstrap over groups.
        seed: Decides them.
    """
    answer_N = probabilities_NK.argmax(axis=1)
    right_N = answer_N == truth_N
    confusion_KK = count_confusion(truth_N, answer_N, probabilities_NK.shape[1])
    present_K = confusion_KK.sum(axis=1) > 0
    low, high = bootstrap_interval(lambda rows: float(right_N[rows].mean()), groups_N, draws=draws, seed=seed)
    auc_low, auc_high = bootstrap_interval(
        lambda rows: _auc(probabilities_NK[rows], truth_N[rows]), groups_N, draws=draws, seed=seed
    )
    return AnswerScores(
        top1=float(right_N.mean()),
        top1_low=low,
        top1_high=high,
        top5=float(top_k(probabilities_NK, truth_N, 5)),
        mean_class=float((np.diag(confusion_KK)[present_K] / confusion_KK.sum(axis=1)[present_K]).mean()),
        macro_f1=float(np.nanmean(f1_by_class(confusion_KK))),
        mean_ap=mean_average_precision(probabilities_NK, truth_N[:, None] == np.arange(probabilities_NK.shape[1])),
        auc=_auc(probabilities_NK, truth_N),
        auc_low=auc_low,
        auc_high=auc_high,
        calibration_error=calibration_error(probabilities_NK, truth_N),
        swept_calibration_error=swept_calibration_error(probabilities_NK, truth_N),
        top1_of_surest=abstention_curve(probabilities_NK, truth_N, (0.1,))[0],
        confusion=confusion_KK,
    )


def top_k(probabilities_NK: Floats, truth_N: Rows, k: int) -> float:
    """Share of rows whose truth is among the k likeliest; equals are told apart by the action's order."""
    likeliest_Nk = np.argsort(-probabilities_NK, axis=1, kind="stable")[:, :k]
    return float((likeliest_Nk == truth_N[:, None]).any(axis=1).mean())


def mean_average_precision(scores_NK: Floats, is_true_NK: NDArray[np.bool_]) -> float:
    """Average precision of each action that is ever true, averaged; several may be true in a row."""
    present = np.flatnonzero(is_true_NK.any(axis=0))
    return float(np.mean([average_precision_score(is_true_NK[:, k], scores_NK[:, k]) for k in present]))


def precision_at(scores_N: Floats, is_true_N: NDArray[np.bool_], recalls: tuple[float, ...]) -> list[float]:
    """The best precision at each recall or above it; some row is true."""
    order_N = np.argsort(-scores_N, kind="stable")
    hits_N = np.cumsum(is_true_N[order_N])
    # Equals cannot be told apart by any threshold: only the last of them is a point of the curve.
    ends = np.flatnonzero(np.append(np.diff(scores_N[order_N]) != 0, True))
    precision, recall = hits_N[ends] / (ends + 1), hits_N[ends] / hits_N[-1]
    return [float(precision[recall >= wanted - 1e-9].max()) for wanted in recalls]


def abstention_curve(probabilities_NK: Floats, truth_N: Rows, shares: tuple[float, ...]) -> list[float]:
    """Accuracy of the rest when the least sure share of the answers abstains.

    Source: Geifman & El-Yaniv 2017, arXiv:1705.08500 (risk and coverage).
    """
    confidence_N = probabilities_NK.max(axis=1)
    right_N = probabilities_NK.argmax(axis=1) == truth_N
    order_N = np.argsort(confidence_N, kind="stable")
    return [float(right_N[order_N[int(share * len(order_N)) :]].mean()) for share in shares]


def abstention_threshold(probabilities_NK: Floats, share: float) -> float:
    """The probability below which the least sure share of these answers lies."""
    return float(np.quantile(probabilities_NK.max(axis=1), share))


def _auc(probabilities_NK: Floats, truth_N: Rows) -> float:
    """Mean over actions of the area under the ROC curve, by ranks.

    A redraw of a bootstrap asks for it thousands of times, and scikit-learn spends 5 ms on checking its inputs.
    Source: Hanley & McNeil 1982 (the area is Mann and Whitney's U).
    """
    is_true_NK = truth_N[:, None] == np.arange(probabilities_NK.shape[1])
    true_K = is_true_NK.sum(axis=0)
    pairs_K = true_K * (len(truth_N) - true_K)
    told_K = pairs_K > 0
    # A redraw of groups may hold one action only; chance is what can be said of it.
    if not told_K.any():
        return 0.5
    rank_NK = rankdata(probabilities_NK, axis=0)
    above_K = (rank_NK * is_true_NK).sum(axis=0) - true_K * (true_K + 1) / 2
    return float((above_K[told_K] / pairs_K[told_K]).mean())
