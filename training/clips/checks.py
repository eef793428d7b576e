"""Checks: what makes measured figures wrong, found before training; every fault names its row of the manifest."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.contracts.errors import BadInput
from services.perception.decode import decode
from training.clips.manifest import LabelledSpan, describe

# Films of AVA are annotated from second 902 to 1798; in a file cut to that quarter of an hour times are smaller.
_AVA_FIRST_SECONDS, _AVA_LAST_SECONDS = 902.0, 1798.0
# Containers often declare a length without the last picture's own.
_TIME_ROUNDING_SECONDS = 0.15


def validate(
    spans: Sequence[LabelledSpan],
    folder: Path,
    *,
    actions: Sequence[str],
    window_seconds: float,
    exclusive: bool = True,
    sides: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Refuse a manifest that would teach or measure something else than it says.

    A span of at least half a window is kept, its last picture held, as `services.perception.windows` does for
    tracks; a shorter one is refused.

    Args:
        spans: The manifest's rows.
        folder: Clips are relative to it.
        actions: Of the label space.
        window_seconds: Length of what a network sees.
        exclusive: Whether the label space allows one action at a time.
        sides: Names of sides to the groups on them.

    Raises:
        BadInput: A group on two sides or on none; a missing file; an action nobody listed; several where they exclude
            each other; boxes that are not shares of the picture; a time outside the clip; a span shorter than half a
            window. Says which rows.
    """
    faults = list(find_leaks(spans, sides or {}))
    lengths = _Lengths(folder)
    for row, span in enumerate(spans, start=1):
        if exclusive and len(span.actions) > 1:
            several = " and ".join(span.actions)
            faults.append(
                f"row {row} ({span.clip}): {several} at once, in a label space of actions that exclude each other; "
                "it may say `exclusive = false`"
            )
        faults += [f"row {row} ({span.clip}): {fault}" for fault in _faults_of(span, actions, window_seconds, lengths)]
    if faults:
        raise BadInput(f"{len(faults)} fault(s) in the manifest: {describe(faults)}")


def find_leaks(spans: Sequence[LabelledSpan], sides: Mapping[str, Sequence[str]]) -> list[str]:
    """Groups, subjects and files on two sides, with the rows that show it, and groups on none."""
    side_of: dict[str, str] = {}
    faults = []
    for side, groups in sides.items():
        for group in groups:
            if side_of.setdefault(group, side) != side:
                faults.append(f"group {group} is on both sides, {side_of[group]} and {side}")
    seen: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for row, span in enumerate(spans, start=1):
        if not sides:
            break
        if span.group not in side_of:
            faults.append(f"row {row} ({span.clip}): group {span.group} is on no side")
            continue
        for kind, name in (("clip", span.clip), ("subject", span.subject_id)):
            if name:
                seen[kind, name].setdefault(side_of[span.group], row)
    for (kind, name), rows in seen.items():
        if len(rows) > 1:
            where = ", ".join(f"{side} (row {row})" for side, row in rows.items())
            faults.append(f"{kind} {name} is on several sides: {where}")
    return faults


class _Lengths:
    """Seconds of each clip, each file opened once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, float | str | None] = {}

    def of(self, clip: str) -> float | str | None:
        """Seconds as declared; None where the file does not say; a sentence where it cannot be read."""
        if clip not in self._known:
            try:
                with decode(self._folder / clip) as decoding:
                    self._known[clip] = decoding.clip.duration_seconds
            except BadInput as error:
                self._known[clip] = str(error)
        return self._known[clip]


def _faults_of(span: LabelledSpan, actions: Sequence[str], window_seconds: float, lengths: _Lengths) -> list[str]:
    faults = [f"action {action!r} is not in the label space" for action in span.actions if action not in actions]
    for box in span.boxes:
        left, top, right, bottom = box.box
        if max(box.box) > 1.5:
            faults.append(f"box {box.box} is in pixels; boxes are shares of the picture, 0 to 1")
        elif not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            faults.append(f"box {box.box} is not left < right, top < bottom within 0 to 1")
    length = lengths.of(span.clip)
    if isinstance(length, str):
        return [*faults, length]
    end_seconds = span.end_seconds if span.end_seconds is not None else length
    if span.source == "ava" and span.boxes:
        middle_seconds = span.boxes[0].seconds
        if not _AVA_FIRST_SECONDS <= middle_seconds <= _AVA_LAST_SECONDS:
            faults.append(f"timestamp {middle_seconds:g} s is not in 902 to 1798: AVA counts from the film's beginning")
    if length is not None and end_seconds is not None and end_seconds > length + _TIME_ROUNDING_SECONDS:
        hint = " (cut to AVA's quarter of an hour? then use the whole film)" if span.source == "ava" else ""
        faults.append(f"ends at {end_seconds:g} s, but the clip lasts {length:g} s{hint}")
    elif end_seconds is not None and 2 * (end_seconds - span.start_seconds) < window_seconds:
        faults.append(
            f"lasts {end_seconds - span.start_seconds:.2f} s, less than half a window of {window_seconds:g} s"
        )
    return faults
