"""Events against what was rendered: who did what, from when to when.

A claim is right when its subject (or "unknown", for a person who is not enrolled) and action are
right and its interval overlaps the truth's by at least the stated temporal IoU; each truth answers
for one claim. Names are judged apart from actions: a wrong name is counted even where the action
is right, since it is the graver fault.

Source: ActivityNet detection protocol (temporal IoU, one-to-one), arXiv:1705.00754; here with one
threshold and F1, as events carry decisions and not a ranking.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True, slots=True)
class Happening:
    """What somebody did in truth, over [start_seconds, end_seconds) of `clip`.

    `subject_id` is None for a person nobody enrolled.
    """

    clip: str
    subject_id: str | None
    action: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Claim:
    """What was answered.

    `shown_id` is the subject whom the boxes of the claim's track show in truth, None for a stranger.
    `misplaced` where they show no person at all, or no one person most of the time.
    """

    clip: str
    subject_id: str | None
    action: str
    start_seconds: float
    end_seconds: float
    shown_id: str | None
    misplaced: bool = False


@dataclass(frozen=True, slots=True)
class EventScores:
    """Counts over all clips.

    Attributes:
        truths: Happenings.
        claims: Answers.
        matched: Claims that are right.
        swapped: Claims that name another enrolled person than the one shown.
        strangers_named: Claims that name anyone where a stranger is shown.
        misplaced_named: Claims that name anyone where the boxes show no one person.
    """

    truths: int
    claims: int
    matched: int
    swapped: int
    strangers_named: int
    misplaced_named: int

    @property
    def precision(self) -> float:
        """Right claims as a share of claims; 1 when nothing was claimed."""
        return self.matched / self.claims if self.claims else 1.0

    @property
    def recall(self) -> float:
        """Right claims as a share of truths; 1 when nothing happened."""
        return self.matched / self.truths if self.truths else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 when nothing happened and nothing was claimed."""
        return 2 * self.matched / (self.truths + self.claims) if self.truths + self.claims else 1.0


def temporal_iou(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Overlap of two intervals as a share of their union, 0 to 1.

    >>> temporal_iou((0.0, 2.0), (1.0, 3.0))
    0.3333333333333333
    """
    overlap = min(one[1], other[1]) - max(one[0], other[0])
    if overlap <= 0:
        return 0.0
    return overlap / (one[1] - one[0] + other[1] - other[0] - overlap)


def match_events(
    truths: Sequence[Happening], claims: Sequence[Claim], *, minimum_iou: float = 0.5
) -> list[tuple[int, int]]:
    """Pair as many claims with truths as can be right at once; among those, with the greatest overlap.

    Returns:
        Index of a truth and of its claim, by truth.
    """
    gain = np.zeros((len(truths), len(claims)))
    for row, truth in enumerate(truths):
        for column, claim in enumerate(claims):
            if (truth.clip, truth.subject_id, truth.action) == (claim.clip, claim.subject_id, claim.action):
                iou = temporal_iou((truth.start_seconds, truth.end_seconds), (claim.start_seconds, claim.end_seconds))
                # A pair more always outweighs any gain of overlap.
                gain[row, column] = len(truths) + iou if iou >= minimum_iou else 0
    rows, columns = linear_sum_assignment(gain, maximize=True)
    return [(int(r), int(c)) for r, c in zip(rows, columns, strict=True) if gain[r, c] > 0]


def score_events(truths: Sequence[Happening], claims: Sequence[Claim], *, minimum_iou: float = 0.5) -> EventScores:
    """Count what was right, swapped and wrongly named; see EventScores."""
    named = [c for c in claims if c.subject_id is not None]
    return EventScores(
        truths=len(truths),
        claims=len(claims),
        matched=len(match_events(truths, claims, minimum_iou=minimum_iou)),
        swapped=sum(c.shown_id is not None and c.shown_id != c.subject_id for c in named),
        strangers_named=sum(c.shown_id is None and not c.misplaced for c in named),
        misplaced_named=sum(c.misplaced for c in named),
    )
