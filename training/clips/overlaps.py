"""Overlaps: networks that name several actions of one person at once, calibrated and measured on groups never met.

Shape legend: N spans · K actions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from services.contracts.card import ActionCalibration, Reference
from training.clips.learn import spread
from training.clips.manifest import LabelledSpan
from training.metrics.detections import ActingPerson, frame_map
from training.metrics.overlaps import OverlapScores, choose_thresholds, fit_chances, score_overlaps, to_chances
from training.networks.video import VideoNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapsLeftOut:
    """Answers to spans by networks that met none of their group.

    Attributes:
        probabilities: (N, K) of each action by itself, as all other groups say that its logits are to be read.
        said: (N, K) bool: at or above the thresholds that suit all other groups.
        is_done: (N, K) bool.
        groups: (N,) str.
        scales, shifts: (K,) that make all spans' logits probabilities.
        thresholds: (K,) that suit all spans.
        frame_map: AVA's mean average precision on the boxes of the manifest; nan where spans have none.
    """

    probabilities: NDArray[np.float64]
    said: NDArray[np.bool_]
    is_done: NDArray[np.bool_]
    groups: NDArray[np.str_]
    scales: NDArray[np.float64]
    shifts: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    frame_map: float

    def scores(self) -> OverlapScores:
        """Of the left-out answers."""
        return score_overlaps(self.probabilities, self.said, self.is_done, self.groups)


def calibrate_overlaps(
    logits_NK: NDArray[np.float64],
    is_done_NK: NDArray[np.bool_],
    groups_N: NDArray[np.str_],
    spans: Sequence[LabelledSpan],
    actions: Sequence[str],
) -> OverlapsLeftOut:
    """Left-out logits with the probabilities they mean, and what is said: both by all other groups."""
    probabilities_NK, said_NK = np.zeros_like(logits_NK), np.zeros_like(is_done_NK)
    for group in np.unique(groups_N):
        inside_N = groups_N == group
        scales_K, shifts_K = fit_chances(logits_NK[~inside_N], is_done_NK[~inside_N])
        others_NK = to_chances(logits_NK[~inside_N], scales_K, shifts_K)
        probabilities_NK[inside_N] = to_chances(logits_NK[inside_N], scales_K, shifts_K)
        said_NK[inside_N] = probabilities_NK[inside_N] >= choose_thresholds(others_NK, is_done_NK[~inside_N])
    scales_K, shifts_K = fit_chances(logits_NK, is_done_NK)
    return OverlapsLeftOut(
        probabilities=probabilities_NK,
        said=said_NK,
        is_done=is_done_NK,
        groups=groups_N,
        scales=scales_K,
        shifts=shifts_K,
        thresholds=choose_thresholds(to_chances(logits_NK, scales_K, shifts_K), is_done_NK),
        frame_map=_rate_boxes(probabilities_NK, spans, actions),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedOverlaps:
    """A network whose logits are probabilities of actions that overlap, through a sigmoid; see `learn.Measured`."""

    network: nn.Module
    left_out: OverlapsLeftOut

    def calibration(self, actions: Sequence[str], unnamed: Sequence[str]) -> ActionCalibration:
        """A threshold for each action; the least of them beside them, since segments are not made of such answers."""
        del actions
        # A probability as read from a card is never a hair above the one the threshold was chosen at.
        thresholds = tuple(float(np.floor(1e6 * threshold) / 1e6) for threshold in self.left_out.thresholds)
        return ActionCalibration(
            temperature=1.0,
            minimum_probability=min(thresholds),
            minimum_seconds=0.0,
            unnamed=tuple(unnamed),
            thresholds=thresholds,
        )

    def reference(self) -> Reference:
        """Of every action's probability."""
        return spread(self.left_out.probabilities.ravel())

    def measures(self, actions: Sequence[str]) -> dict[str, float]:
        """Of all actions together, and the average precision of each that anybody does."""
        scores = self.left_out.scores()
        by_action = {f"left_out_ap_{action}": float(ap) for action, ap in zip(actions, scores.ap, strict=True)}
        measures = {
            "spans": float(len(self.left_out.groups)),
            "groups": float(len(np.unique(self.left_out.groups))),
            "actions_a_span": float(self.left_out.is_done.sum(axis=1).mean()),
            "left_out_mean_ap": scores.mean_ap,
            "left_out_mean_ap_low": scores.mean_ap_low,
            "left_out_mean_ap_high": scores.mean_ap_high,
            "left_out_mean_ap_by_chance": scores.chance_ap,
            "left_out_frame_map": self.left_out.frame_map,
            "left_out_macro_f1": scores.macro_f1,
            "left_out_calibration_error": scores.calibration_error,
            **by_action,
        }
        # JSON has no word for what cannot be measured.
        return {name: value for name, value in measures.items() if np.isfinite(value)}


def make_logits_mean_chances(network: VideoNetwork, left_out: OverlapsLeftOut) -> VideoNetwork:
    """Put what was measured on groups left out into the last layer of a network learned in the same way."""
    scales_K, shifts_K = (torch.from_numpy(part).float() for part in (left_out.scales, left_out.shifts))
    with torch.no_grad():
        network.head.weight.mul_(scales_K[:, None])
        network.head.bias.mul_(scales_K).add_(shifts_K)
    return network


def _rate_boxes(probabilities_NK: NDArray[np.float64], spans: Sequence[LabelledSpan], actions: Sequence[str]) -> float:
    if not all(span.boxes for span in spans):
        return float("nan")
    truths, claims = [], []
    for span, chance_K in zip(spans, probabilities_NK, strict=True):
        middle = span.boxes[len(span.boxes) // 2]
        picture = f"{span.clip} at {middle.seconds:.3f} s"
        truths += [ActingPerson(picture, action, middle.box) for action in span.actions]
        claims += [
            ActingPerson(picture, action, middle.box, float(chance))
            for action, chance in zip(actions, chance_K, strict=True)
        ]
    return frame_map(truths, claims)
