"""Tracker: detections of one picture after another become people followed through the clip. In seconds throughout.

Hungarian matching in two stages, sure detections first (ByteTrack), over boxes predicted by a Kalman filter and
restarted from observations after an occlusion (OC-SORT). On top of that, one rule of this house: a track is
never handed from one person to another in silence. Where two people were one in the picture and come apart
again, motion and clothes must tell them apart; where they do not, both tracks end and two new ones begin.

Source: ByteTrack, arXiv:2110.06864; OC-SORT, arXiv:2203.14360; C-BIoU, arXiv:2211.14317 (widened boxes).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from services.perception.appearance import likeness
from services.perception.crossing import Crossings
from services.perception.detection import Boxes, pairwise_coverage, pairwise_iou
from services.perception.motion import BoxMotion
from services.perception.tracklet import Histogram, Tracklet, area_px2, overlap, stack_boxes

# Waiting longer (3.5 s) joined more falls to their people, and more people to somebody else's name.
LOST_SECONDS = 1.6
_LEFT_SECONDS = 0.5
# Whoever lies longer is lost, or something else was taken for them: the scene where they stood when the clip began.
_UNDETECTED_SECONDS = 5.0
_TENTATIVE_SECONDS = 0.45
_HITS_TO_CONFIRM = 3
_LEAST_OVERLAP = 0.15
_LEAST_OVERLAP_UNSURE = 0.35
_EXPECTED_IOU = 0.5
# Clothes this unlike are another person's, wherever they are; after being unseen for a while they must agree better.
_LEAST_LIKENESS = 0.78
_OCCLUDED_SECONDS = 0.35
_LEAST_LIKENESS_OCCLUDED = 0.86
# Found again by their clothes alone, by how much more alike than anybody else, at how many heights a second (a sprint).
_LEAST_LIKENESS_ELSEWHERE = 0.93
_CLEAR_LIKENESS = 0.06
_TOP_SPEED_HEIGHTS = 3.0
_JITTER_HEIGHTS = 0.3
_MOST_GROWTH = 1.6
# Detections that share so much are one person's until they come apart.
_DOUBLE_COVERAGE = 0.6
# The same, from one picture to the next: enough to leave the one box of two people to the one it shows.
_MATCH_CLOTHES_WEIGHT = 2.5


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """A track as of the latest picture.

    Attributes:
        number: Stays the same for as long as the track lives; never used again.
        box_px: float32, (4,), smoothed.
        confidence: Of the detection; 0 when carried over.
        detected: Found in this very picture, and alone in the box.
        confirmed: Seen often enough to be believed.
        detection: Index of the matched detection; None when carried over.
    """

    number: int
    box_px: NDArray[np.float32]
    confidence: float
    detected: bool
    confirmed: bool
    detection: int | None


class Tracker:
    """Follows people through one clip."""

    def __init__(self, minimum_confidence: float, width_px: int, height_px: int) -> None:
        """Start with an empty picture.

        Args:
            minimum_confidence: A detection at or above it may begin a track; one below it only carries one on.
            width_px: Of the pictures, to know who has left.
            height_px: Of the pictures.
        """
        self._minimum_confidence = minimum_confidence
        self._picture = np.array([[0, 0, width_px, height_px]], np.float32)
        self._tracks: list[Tracklet] = []
        self._crossings = Crossings()
        self._next_number = 0
        self._seconds: float | None = None
        self._pictures = 0

    def predict(self, seconds: float) -> dict[int, NDArray[np.float32]]:
        """Where everyone followed should be at `seconds`: box by number. Time does not go back after it."""
        step = 0.0 if self._seconds is None else seconds - self._seconds
        if step < 0:
            raise ValueError(f"picture at {seconds} s after one at {self._seconds} s: time must not go back")
        self._seconds = seconds
        if step:
            for track in self._tracks:
                track.motion.predict(step)
        return {track.number: track.motion.box_px for track in self._tracks}

    def update(
        self,
        seconds: float,
        boxes_px: Boxes,
        confidences: NDArray[np.float32],
        appearances: Sequence[Histogram | None],
    ) -> list[Followed]:
        """Take in one picture's detections.

        Args:
            seconds: pts of the picture; never before the last one's.
            boxes_px: (N, 4), each person once.
            confidences: (N,); 0 for somebody lost who was not detected but stands out from the scene.
            appearances: N histograms; None where there is none.

        Returns:
            Everyone followed now; who is missing from it has ended.
        """
        self.predict(seconds)
        self._pictures += 1
        sure = np.flatnonzero(confidences >= self._minimum_confidence)
        unsure = np.flatnonzero((confidences < self._minimum_confidence) & (confidences > 0))
        undetected = np.flatnonzero(confidences == 0)

        matches: dict[int, int] = {}
        self._match(self._tracks, sure, boxes_px, appearances, _LEAST_OVERLAP, matches)
        recent = [t for t in self._unmatched(matches) if seconds - t.seen_seconds < _OCCLUDED_SECONDS]
        self._match(recent, unsure, boxes_px, appearances, _LEAST_OVERLAP_UNSURE, matches)
        lying = [t for t in self._unmatched(matches) if seconds - t.detected_seconds < _UNDETECTED_SECONDS]
        self._match(lying, undetected, boxes_px, appearances, _LEAST_OVERLAP_UNSURE, matches)
        self._find_again(sure, boxes_px, appearances, matches)
        self._crossings.note(self._tracks, matches, boxes_px)
        ended = self._crossings.settle(self._tracks, matches, boxes_px, appearances)

        self._tracks = [track for track in self._tracks if track.number not in ended]
        matches = {number: index for number, index in matches.items() if number not in ended}
        crowded = _crowded(boxes_px)
        shared = self._crossings.find_shared(self._tracks, matches, boxes_px)
        for track in self._tracks:
            if track.number in shared:
                # Where they are is between the two: nothing to learn a motion from.
                track.seen_seconds = seconds
            elif track.number in matches:
                index = matches[track.number]
                self._carry_on(track, boxes_px[index], float(confidences[index]))
                if not self._crossings.involve(track.number):
                    track.alone_px2 = area_px2(boxes_px[index])
                    if not crowded[index]:
                        track.see_clothes(appearances[index])
        self._tracks = [track for track in self._tracks if self._lives(track)]
        for index in sure.tolist():
            if index not in matches.values() and not self._is_double(boxes_px, index, matches):
                track = Tracklet(self._next_number, boxes_px[index], seconds)
                track.appearance = None if crowded[index] else appearances[index]
                self._next_number += 1
                self._tracks.append(track)
                matches[track.number] = index
        return [
            self._describe(track, None if track.number in shared else matches.get(track.number), confidences)
            for track in self._tracks
        ]

    def forget(self) -> None:
        """End every track: the scene has changed, and who stands where somebody stood is somebody else."""
        self._tracks = []

    def believed(self) -> set[int]:
        """Tracks to keep when the clip ends here: those confirmed, and all of a clip too short to confirm any."""
        return {t.number for t in self._tracks if t.confirmed or self._pictures < _HITS_TO_CONFIRM}

    def _match(
        self,
        tracks: Sequence[Tracklet],
        candidates: NDArray[np.intp],
        boxes_px: Boxes,
        appearances: Sequence[Histogram | None],
        least_overlap: float,
        matches: dict[int, int],
    ) -> None:
        """Add the best one-to-one matches of tracks and candidate detections to `matches`."""
        if not tracks or not len(candidates):
            return
        # Whoever is where one person alone should be is that person, however they have turned.
        expected = pairwise_iou(stack_boxes(tracks), boxes_px[candidates]) >= _EXPECTED_IOU
        alone = (overlap(stack_boxes(self._tracks), boxes_px[candidates]) >= _LEAST_OVERLAP).sum(axis=0) == 1
        affinity = np.maximum(
            overlap(stack_boxes(tracks), boxes_px[candidates]),
            # Someone who stopped behind an obstacle comes out where they went in.
            0.9 * overlap(np.stack([t.last_box_px for t in tracks]), boxes_px[candidates]),
        )
        allowed = affinity >= least_overlap
        for row, track in enumerate(tracks):
            assert self._seconds is not None
            occluded = self._seconds - track.seen_seconds >= _OCCLUDED_SECONDS
            for column, index in enumerate(candidates.tolist()):
                alike = likeness(track.appearance, appearances[index])
                known = track.appearance is not None and appearances[index] is not None
                evident = not occluded and expected[row, column] and alone[column]
                if known and not evident and alike < (_LEAST_LIKENESS_OCCLUDED if occluded else _LEAST_LIKENESS):
                    allowed[row, column] = False
                affinity[row, column] += _MATCH_CLOTHES_WEIGHT * alike + (0.1 if track.confirmed else 0.0)
        rows, columns = linear_sum_assignment(np.where(allowed, affinity, -1e3), maximize=True)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            if allowed[row, column]:
                matches[tracks[row].number] = int(candidates[column])

    def _find_again(
        self,
        candidates: NDArray[np.intp],
        boxes_px: Boxes,
        appearances: Sequence[Histogram | None],
        matches: dict[int, int],
    ) -> None:
        """Give the lost back what their clothes tell: who turned round where they were hidden is not where motion says.

        Also what somebody else was given for want of them. Only within what they could have run since, and only where
        nobody else may be meant: on neither side is there a second one nearly as alike.
        """
        crowded = _crowded(boxes_px)
        owners = {matches[track.number]: track for track in self._tracks if track.number in matches}
        free = [
            index
            for index in candidates.tolist()
            if appearances[index] is not None
            and not crowded[index]
            and not (
                # Nobody loses what is where they should be.
                pairwise_iou(owners[index].motion.box_px[None], boxes_px[index][None])[0, 0] >= _EXPECTED_IOU
                if index in owners
                else self._is_double(boxes_px, index, matches)
            )
        ]
        lost = [t for t in self._unmatched(matches) if t.confirmed and t.appearance is not None]
        if not free or not lost:
            return
        alike = np.array([[likeness(t.appearance, appearances[i]) for i in free] for t in self._tracks])
        rows = [self._tracks.index(track) for track in lost]
        for row, track in zip(rows, lost, strict=True):
            column = int(alike[row].argmax())
            others = np.append(np.delete(alike[:, column], row), np.delete(alike[row], column))
            if (
                alike[row, column] >= _LEAST_LIKENESS_ELSEWHERE
                and alike[row, column] - others.max(initial=0.0) >= _CLEAR_LIKENESS
                and self._could_reach(track, boxes_px[free[column]])
            ):
                if owner := owners.get(free[column]):
                    del matches[owner.number]
                matches[track.number] = free[column]
                assert self._seconds is not None
                track.motion = BoxMotion.between(
                    track.last_box_px, boxes_px[free[column]], self._seconds - track.seen_seconds
                )

    def _could_reach(self, track: Tracklet, box_px: NDArray[np.float32]) -> bool:
        """Whether somebody last seen where the track was can be in a box now."""
        assert self._seconds is not None
        before, now = track.last_box_px, box_px
        heights = max(before[3] - before[1], now[3] - now[1])
        moved = np.hypot(*((now[:2] + now[2:] - before[:2] - before[2:]) / 2)) / heights
        grown = heights / min(before[3] - before[1], now[3] - now[1])
        reach = _JITTER_HEIGHTS + _TOP_SPEED_HEIGHTS * (self._seconds - track.seen_seconds)
        return bool(moved <= reach and grown <= _MOST_GROWTH)

    def _carry_on(self, track: Tracklet, box_px: NDArray[np.float32], confidence: float) -> None:
        assert self._seconds is not None
        unseen_seconds = self._seconds - track.seen_seconds
        if unseen_seconds >= _OCCLUDED_SECONDS:
            track.motion = BoxMotion.between(track.last_box_px, box_px, unseen_seconds)
        else:
            # An unsure box is often a body half hidden.
            track.motion.correct(box_px, jitter=1.0 if confidence >= self._minimum_confidence else 2.0)
        track.last_box_px = box_px
        track.seen_seconds = self._seconds
        if confidence > 0:
            track.detected_seconds = self._seconds
        track.hits += 1
        track.confirmed = track.confirmed or track.hits >= _HITS_TO_CONFIRM

    def _lives(self, track: Tracklet) -> bool:
        assert self._seconds is not None
        unseen_seconds = self._seconds - track.seen_seconds
        if not track.confirmed:
            return unseen_seconds <= _TENTATIVE_SECONDS
        inside = pairwise_coverage(track.motion.box_px[None], self._picture)[0, 0]
        return unseen_seconds <= (LOST_SECONDS if inside > 0.5 else _LEFT_SECONDS)

    def _describe(self, track: Tracklet, index: int | None, confidences: NDArray[np.float32]) -> Followed:
        return Followed(
            number=track.number,
            box_px=track.motion.box_px,
            confidence=0.0 if index is None else float(confidences[index]),
            detected=index is not None,
            confirmed=track.confirmed,
            detection=index,
        )

    @staticmethod
    def _is_double(boxes_px: Boxes, index: int, matches: dict[int, int]) -> bool:
        """Whether a detection is mostly part of somebody followed, or they of it: nobody begins there."""
        others = boxes_px[list(matches.values())]
        one = boxes_px[index : index + 1]
        covered = max(pairwise_coverage(one, others).max(initial=0.0), pairwise_coverage(others, one).max(initial=0.0))
        return bool(covered > _DOUBLE_COVERAGE)

    def _unmatched(self, matches: dict[int, int]) -> list[Tracklet]:
        return [track for track in self._tracks if track.number not in matches]


def _crowded(boxes_px: Boxes) -> NDArray[np.bool_]:
    """Detections whose torso may be somebody else's."""
    covered = pairwise_coverage(boxes_px, boxes_px)
    np.fill_diagonal(covered, 0)
    crowded: NDArray[np.bool_] = covered.max(axis=1, initial=0) > 0.25
    return crowded
