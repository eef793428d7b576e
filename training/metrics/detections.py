"""Ranked detections against the truth: segments in time (ActivityNet's rules), boxes at one instant (AVA's)."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from services.perception.detection import pairwise_iou
from training.metrics.events import temporal_iou

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Segment:
    """Half-open [start, end) seconds of an action; `probability` ranks claims and is unused in truths."""

    clip: str
    action: str
    start_seconds: float
    end_seconds: float
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class ActingPerson:
    """A person doing an action in one picture; the box in any one unit."""

    picture: str
    action: str
    box: Box
    probability: float = 1.0


_Thing = TypeVar("_Thing", Segment, ActingPerson)


def segment_map(truths: Sequence[Segment], claims: Sequence[Segment], *, minimum_iou: float) -> float:
    """Mean over the actions in the truth of the average precision at one temporal IoU.

    Source: ActivityNet's evaluation (all-point interpolated precision; each truth answers for one claim).
    """

    def overlap(truth: Segment, claim: Segment) -> float:
        return temporal_iou((truth.start_seconds, truth.end_seconds), (claim.start_seconds, claim.end_seconds))

    return _mean(
        [
            average_precision(
                [truth for truth in truths if truth.action == action],
                [claim for claim in claims if claim.action == action],
                overlap,
                place=lambda segment: segment.clip,
                minimum_overlap=minimum_iou,
            )
            for action in sorted({truth.action for truth in truths})
        ]
    )


def frame_map(truths: Sequence[ActingPerson], claims: Sequence[ActingPerson], *, minimum_iou: float = 0.5) -> float:
    """Mean over the actions in the truth of the average precision of boxes at one IoU.

    Source: AVA's evaluation, arXiv:1705.08421 (PASCAL VOC's, at 0.5, per key frame).
    """

    def overlap(truth: ActingPerson, claim: ActingPerson) -> float:
        return float(pairwise_iou(np.array([truth.box], np.float32), np.array([claim.box], np.float32))[0, 0])

    return _mean(
        [
            average_precision(
                [truth for truth in truths if truth.action == action],
                [claim for claim in claims if claim.action == action],
                overlap,
                place=lambda person: person.picture,
                minimum_overlap=minimum_iou,
            )
            for action in sorted({truth.action for truth in truths})
        ]
    )


def average_precision(
    truths: Sequence[_Thing],
    claims: Sequence[_Thing],
    overlap: Callable[[_Thing, _Thing], float],
    *,
    place: Callable[[_Thing], Hashable],
    minimum_overlap: float,
) -> float:
    """Area under precision made monotone, over recall; claims in order of probability take the best free truth.

    Args:
        truths: Of one action; at least one.
        claims: Of the same action.
        overlap: Of a truth and a claim in the same place.
        place: Clip or picture.
        minimum_overlap: Below it a claim is wrong.
    """
    # AVA has half a million boxes: a claim is held against the truths of its own place alone.
    truths_at: dict[Hashable, list[int]] = defaultdict(list)
    for index, truth in enumerate(truths):
        truths_at[place(truth)].append(index)
    taken: set[int] = set()
    right = []
    for claim in sorted(claims, key=lambda one: -one.probability):
        near = [
            (overlap(truths[index], claim), -index) for index in truths_at.get(place(claim), ()) if index not in taken
        ]
        best, index = max(near, default=(0.0, 0))
        right.append(best >= minimum_overlap and bool(near))
        if right[-1]:
            taken.add(-index)
    if not right:
        return 0.0
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    monotone = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0.0], hits / len(truths)])
    return float((np.diff(recall) * monotone).sum())


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0
