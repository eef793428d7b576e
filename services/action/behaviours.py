"""Behaviours whose meaning is a rule: what actions and boxes of several seconds add up to, by definition.

loiter        somebody stays within a place three body lengths wide for half a minute or longer
fall_and_lie  a fall after which the body stays low for three seconds or longer
run_away      somebody runs from where, just before, they or somebody beside them pushed, fell or fought

What has no definition, such as a fight, is learned instead: see services.action.recognize.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from services.contracts.action import Action, ActionSegment
from services.perception.track import Track

LOITER, FALL_AND_LIE, RUN_AWAY = "loiter", "fall_and_lie", "run_away"
_LOITER_SECONDS, _LOITER_BODIES = 30.0, 3.0
_LIE_SECONDS = 3.0
# Lying people are wider than high; bent ones nearly so.
_LYING_WIDTH = 0.9
_GAP_SECONDS = 0.5
# Run from what: it ended at most so long before, at most so many body lengths away.
_ALARMING = frozenset({"push", "fall", "fight"})
_ALARM_SECONDS, _BESIDE_BODIES = 5.0, 2.5


def find_rule_behaviours(tracks: Sequence[Track], segments: Sequence[ActionSegment]) -> list[ActionSegment]:
    """Everything the rules find in a clip.

    Args:
        tracks: Everyone followed.
        segments: What they do, learned behaviours included.

    Returns:
        By track, then time. The probability is that of the action a rule begins with; for loitering, which no
        action says, the share of its pictures in which the person was detected.
    """
    by_id = {track.track_id: track for track in tracks}
    found = [*_alarmed_runs(by_id, segments)]
    for track in tracks:
        found += _loiterings(track)
        falls = [each for each in segments if each.track_id == track.track_id and each.action.name == "fall"]
        found += [lying for fall in falls if (lying := _lying_after(track, fall)) is not None]
    order = {track.track_id: number for number, track in enumerate(tracks)}
    return sorted(found, key=lambda each: (order[each.track_id], each.start_seconds, each.action.name))


def measure_body_px(boxes_px: NDArray[np.float32]) -> float:
    """The body's length, whether it stands or lies."""
    sides = boxes_px[:, 2:] - boxes_px[:, :2]
    return max(float(np.median(sides.max(axis=1))), 1.0)


def _loiterings(track: Track) -> Iterator[ActionSegment]:
    """Stays in one place, in order of time, none overlapping another."""
    times, centres = track.pts_seconds, _centres(track.boxes_px)
    reach = _LOITER_BODIES * measure_body_px(track.boxes_px)

    def stay(first: int, last: int) -> ActionSegment | None:
        if times[last] - times[first] < _LOITER_SECONDS:
            return None
        return _segment(track.track_id, LOITER, float(track.detected[first : last + 1].mean()), *times[[first, last]])

    first, low, high = 0, centres[0], centres[0]
    for index in range(1, len(times)):
        low, high = np.minimum(low, centres[index]), np.maximum(high, centres[index])
        if (high - low).max() <= reach:
            continue
        if ended := stay(first, index - 1):
            yield ended
            first = index
        else:
            first = _first_within(centres, first + 1, index, reach)
        low, high = centres[first : index + 1].min(axis=0), centres[first : index + 1].max(axis=0)
    if ended := stay(first, len(times) - 1):
        yield ended


def _first_within(centres: NDArray[np.float64], start: int, index: int, reach: float) -> int:
    """The earliest picture from `start` on from which to `index` nothing reaches further than that."""
    backwards = centres[start : index + 1][::-1]
    extent = np.maximum.accumulate(backwards) - np.minimum.accumulate(backwards)
    near = np.flatnonzero((extent > reach).any(axis=1))
    return start if not len(near) else index + 1 - int(near[0])


def _lying_after(track: Track, fall: ActionSegment) -> ActionSegment | None:
    """The fall and how long the body stays low after it; None when it gets up, or is lost, too soon."""
    times = track.pts_seconds
    width = track.boxes_px[:, 2] - track.boxes_px[:, 0]
    height = np.maximum(track.boxes_px[:, 3] - track.boxes_px[:, 1], 1)
    lain = fall.end_seconds
    for time, low in zip(times, width / height >= _LYING_WIDTH, strict=True):
        if time < fall.end_seconds:
            continue
        if time - lain > _GAP_SECONDS:
            break
        if low:
            lain = float(time)
    if lain - fall.end_seconds < _LIE_SECONDS:
        return None
    return _segment(track.track_id, FALL_AND_LIE, fall.action.probability, fall.start_seconds, lain)


def _alarmed_runs(by_id: dict[str, Track], segments: Sequence[ActionSegment]) -> Iterator[ActionSegment]:
    for run in segments:
        if run.action.name != "run":
            continue
        if any(_alarms(by_id, run, each) for each in segments if each.action.name in _ALARMING):
            yield _segment(run.track_id, RUN_AWAY, run.action.probability, run.start_seconds, run.end_seconds)


def _alarms(by_id: dict[str, Track], run: ActionSegment, alarm: ActionSegment) -> bool:
    """Whether the run begins during or soon after the alarm, and from beside it."""
    if not alarm.start_seconds <= run.start_seconds <= alarm.end_seconds + _ALARM_SECONDS:
        return False
    runner, other = by_id[run.track_id], by_id[alarm.track_id]
    if runner is other:
        return True
    box, other_box = _box_at(runner, run.start_seconds), _box_at(other, run.start_seconds)
    apart_px = float(np.abs(_centres(box[None]) - _centres(other_box[None])).max())
    return apart_px <= _BESIDE_BODIES * measure_body_px(box[None])


def _box_at(track: Track, seconds: float) -> NDArray[np.float32]:
    """The box nearest in time."""
    box: NDArray[np.float32] = track.boxes_px[int(np.abs(track.pts_seconds - seconds).argmin())]
    return box


def _centres(boxes_px: NDArray[np.float32]) -> NDArray[np.float64]:
    centres: NDArray[np.float64] = (boxes_px[:, :2] + boxes_px[:, 2:]).astype(np.float64) / 2
    return centres


def _segment(track_id: str, name: str, probability: float, start_seconds: float, end_seconds: float) -> ActionSegment:
    return ActionSegment(
        track_id=track_id,
        action=Action(name=name, probability=round(min(probability, 1.0), 4)),
        start_seconds=round(float(start_seconds), 3),
        end_seconds=round(float(end_seconds), 3),
    )
