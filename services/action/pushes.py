"""Whom a push is done to: the nearest person within reach, moment by moment; whoever is so most of the time.

Nobody is named where nobody was in reach, or no one person for half of the push: a wrong "pushed by" costs more than
none. Of two tracks on one body both "push"; such a twin is nobody who could be pushed.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.action.behaviours import measure_body_px
from services.contracts.action import ActionSegment, Toward
from services.perception.detection import pairwise_iou
from services.perception.track import Track

PUSH = "push"
# People at arm's length stand some 0.45 of a body length apart.
_REACH_BODIES = 0.7
_LEAST_SHARE = 0.5
_TWIN_IOU = 0.2
# A track without a picture so near in time says nothing of that moment.
_GAP_SECONDS = 0.25


def point_pushes(tracks: Sequence[Track], segments: Sequence[ActionSegment]) -> list[ActionSegment]:
    """The same segments; pushes say toward whom, where that is sure enough.

    Args:
        tracks: Everyone followed.
        segments: What they do.
    """
    pushes = [segment for segment in segments if segment.action.name == PUSH]
    pushed = {id(push): find_pushed(push, tracks, pushes) for push in pushes}
    return [
        segment.model_copy(update={"toward": toward}) if (toward := pushed.get(id(segment))) else segment
        for segment in segments
    ]


def find_pushed(push: ActionSegment, tracks: Sequence[Track], pushes: Sequence[ActionSegment]) -> Toward | None:
    """Whom a push is done to; None where nobody is it for half of the time.

    Args:
        push: Of one of the tracks.
        tracks: Everyone followed.
        pushes: Everybody's.
    """
    pusher = next(track for track in tracks if track.track_id == push.track_id)
    during_N = _within(pusher.pts_seconds, push)
    others = [track for track in tracks if track is not pusher]
    if not others or not during_N.any():
        return None
    times_T = pusher.pts_seconds[during_N]
    boxes_T4 = look_up_boxes(pusher, times_T)
    apart_OT = np.stack([_measure_apart_px(other, pushes, times_T, boxes_T4) for other in others])
    apart_OT[apart_OT > _REACH_BODIES * measure_body_px(pusher.boxes_px[during_N])] = np.inf
    reached_T = np.isfinite(apart_OT.min(axis=0))
    moments_O = np.bincount(apart_OT.argmin(axis=0)[reached_T], minlength=len(others))
    nearest = int(moments_O.argmax())
    share = float(moments_O[nearest]) / len(times_T)
    return Toward(track_id=others[nearest].track_id, share=round(share, 4)) if share >= _LEAST_SHARE else None


def look_up_boxes(track: Track, times_T: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where somebody was at each of some growing times: (T, 4) in pixels, NaN where no picture is near in time."""
    meanwhile = slice(*np.searchsorted(track.pts_seconds, times_T[[0, -1]] + (-_GAP_SECONDS, _GAP_SECONDS)))
    seen_M = track.pts_seconds[meanwhile]
    if not len(seen_M):
        return np.full((len(times_T), 4), np.nan)
    gaps_TM = np.abs(seen_M - times_T[:, None])
    boxes_T4: NDArray[np.float64] = track.boxes_px[meanwhile][gaps_TM.argmin(axis=1)].astype(np.float64)
    boxes_T4[gaps_TM.min(axis=1) > _GAP_SECONDS] = np.nan
    return boxes_T4


def _measure_apart_px(
    other: Track, pushes: Sequence[ActionSegment], times_T: NDArray[np.float64], boxes_T4: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(T,): how far apart they stand on the picture's ground; infinite where the other is not seen or is a twin."""
    theirs_T4 = look_up_boxes(other, times_T)
    apart_T: NDArray[np.float64] = np.nan_to_num(
        np.linalg.norm(find_feet(theirs_T4) - find_feet(boxes_T4), axis=1), nan=np.inf
    )
    for push in pushes:
        if push.track_id == other.track_id:
            for moment in np.flatnonzero(_within(times_T, push) & np.isfinite(apart_T)):
                if pairwise_iou(theirs_T4[moment][None], boxes_T4[moment][None])[0, 0] >= _TWIN_IOU:
                    apart_T[moment] = np.inf
    return apart_T


def find_feet(boxes_N4: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 2): the middle of the lower edge, which is on the ground whether somebody stands or lies."""
    feet: NDArray[np.float64] = np.stack([(boxes_N4[:, 0] + boxes_N4[:, 2]) / 2, boxes_N4[:, 3]], axis=1)
    return feet


def _within(times_seconds: NDArray[np.float64], segment: ActionSegment) -> NDArray[np.bool_]:
    return (times_seconds >= segment.start_seconds) & (times_seconds < segment.end_seconds)
