"""Pushes as they are served, everybody they could be done to, and whom they are done to in truth."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.action.behaviours import measure_body_px
from services.action.pushes import PUSH, find_feet, look_up_boxes
from services.contracts.action import ActionSegment
from services.perception.track import Track
from training.datasets.manifests import ClipTruth
from training.datasets.truth import NOBODY, commonest, match_track

MOMENTS = 16
"""A push is looked at this many times, evenly spaced, however long it is."""
GEOMETRY = 5
_FURTHEST = 3.0
_LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Encounter:
    """One push and everybody followed meanwhile.

    Attributes:
        clip: File stem.
        push: As it was served, with toward whom.
        others: P track ids.
        features: (P, T, F) float32; see `describe_beside`. Zero where not seen.
        seen: (P, T) bool.
        right: (P,) bool: who shows the person pushed in truth; nobody where no track does.
        real: Whether the track shows somebody who does push then.
    """

    clip: str
    push: ActionSegment
    others: tuple[str, ...]
    features: NDArray[np.float32]
    seen: NDArray[np.bool_]
    right: NDArray[np.bool_]
    real: bool


def find_encounters(
    clip: ClipTruth,
    tracks: Sequence[Track],
    segments: Sequence[ActionSegment],
    actions: Sequence[str],
    *,
    minimum_iou: float,
) -> list[Encounter]:
    """Every served push of a clip beside the truth.

    Args:
        clip: Who did what.
        tracks: Everyone followed.
        segments: What was served.
        actions: Every name there can be.
        minimum_iou: A track's box is a person's at or above this.
    """
    shown = {track.track_id: match_track(track, clip.people, minimum_iou=minimum_iou) for track in tracks}
    return [_meet(clip, tracks, push, segments, shown, actions) for push in segments if push.action.name == PUSH]


def find_pushed_subject(clip: ClipTruth, subject_id: str, start_seconds: float, end_seconds: float) -> str | None:
    """Whom somebody pushes in truth for at least half of a time; None where they do not push.

    The script casts people in the order of the manifest, and whoever pushes stands right after whom they push.
    """
    for number, person in enumerate(clip.people):
        for each in person.happenings if person.subject_id == subject_id else ():
            overlap = min(each.end_seconds, end_seconds) - max(each.start_seconds, start_seconds)
            if each.action == PUSH and overlap >= _LEAST_SHARE * (end_seconds - start_seconds):
                return clip.people[number - 1].subject_id
    return None


def describe_beside(
    pusher: Track, other: Track, times_T: NDArray[np.float64], segments: Sequence[ActionSegment], actions: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What somebody does beside a pusher, and where.

    Returns:
        (T, 5 + K) float32 and (T,) bool, whether both are seen: across and further down in the picture, how much
        larger, how much they overlap (IoU), how fast the other moves (all in the pusher's body lengths, seconds),
        and a one for what the other is said to do.
    """
    mine_T4, theirs_T4 = look_up_boxes(pusher, times_T), look_up_boxes(other, times_T)
    body = measure_body_px(pusher.boxes_px)
    apart_T2 = (find_feet(theirs_T4) - find_feet(mine_T4)) / body
    longer_T = [np.log((box[:, 2:] - box[:, :2]).max(axis=1).clip(min=1)) for box in (theirs_T4, mine_T4)]
    step_seconds = times_T[1] - times_T[0]
    speed_T = np.linalg.norm(np.gradient(find_feet(theirs_T4), axis=0), axis=1) / body / step_seconds
    done_TK = np.stack(
        [
            sum(
                (times_T >= each.start_seconds) & (times_T < each.end_seconds)
                for each in segments
                if each.track_id == other.track_id and each.action.name == action
            )
            + np.zeros(len(times_T))
            for action in actions
        ],
        axis=1,
    )
    geometry_T5 = np.stack(
        [np.abs(apart_T2[:, 0]), apart_T2[:, 1], longer_T[0] - longer_T[1], _overlap(mine_T4, theirs_T4), speed_T],
        axis=1,
    )
    seen_T = np.isfinite(mine_T4[:, 0]) & np.isfinite(theirs_T4[:, 0])
    features_TF = np.concatenate([np.nan_to_num(geometry_T5).clip(-_FURTHEST, _FURTHEST), done_TK.clip(0, 1)], axis=1)
    return np.where(seen_T[:, None], features_TF, 0).astype(np.float32), seen_T


def _meet(
    clip: ClipTruth,
    tracks: Sequence[Track],
    push: ActionSegment,
    segments: Sequence[ActionSegment],
    shown: dict[str, list[str]],
    actions: Sequence[str],
) -> Encounter:
    start, end = push.start_seconds, push.end_seconds
    times_T = np.linspace(start, end, MOMENTS, endpoint=False)
    pusher = next(track for track in tracks if track.track_id == push.track_id)
    beside = [
        (other, *described)
        for other in tracks
        if other is not pusher and (described := describe_beside(pusher, other, times_T, segments, actions))[1].any()
    ]

    def subject_of(track: Track) -> str:
        during = (track.pts_seconds >= start) & (track.pts_seconds < end)
        return commonest(np.array(shown[track.track_id])[during].tolist()) if during.any() else NOBODY

    pushed = find_pushed_subject(clip, subject_of(pusher), start, end)
    return Encounter(
        clip=clip.path.stem,
        push=push,
        others=tuple(other.track_id for other, _, _ in beside),
        features=np.array([features for _, features, _ in beside], np.float32).reshape(
            len(beside), MOMENTS, GEOMETRY + len(actions)
        ),
        seen=np.array([seen for _, _, seen in beside], bool).reshape(len(beside), MOMENTS),
        right=np.array([subject_of(other) == pushed for other, _, _ in beside], bool),
        real=pushed is not None,
    )


def _overlap(mine_T4: NDArray[np.float64], theirs_T4: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,): intersection over union at each time."""
    low_T2, high_T2 = np.maximum(mine_T4[:, :2], theirs_T4[:, :2]), np.minimum(mine_T4[:, 2:], theirs_T4[:, 2:])
    shared_T = (high_T2 - low_T2).clip(min=0).prod(axis=1)
    areas_T = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (mine_T4, theirs_T4)]
    overlap_T: NDArray[np.float64] = shared_T / np.maximum(areas_T[0] + areas_T[1] - shared_T, 1)
    return overlap_T
