"""annotated.mp4: the clip with a box, a name and the current action on everyone in it."""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.contracts.events import Analysis, Event
from services.perception.decode import decode
from services.perception.encode import write_mp4
from services.perception.frame import Frame, Picture
from services.reports.hiding import Rectangle, head_of, hide_person
from services.reports.paths import BoxPath
from services.reports.people import Person, gather_people, index_by_track
from services.reports.plate import BACKGROUND, Plate, draw_plate, rgb_of
from services.reports.timecode import format_clock

LONGEST_SIDE_PX = 1280
# Fewer pictures a second than the clip may have: half the cost, and walking still looks like walking.
RATE_HZ = 12.5
# Smaller clips are enlarged by a whole number, or the words would not fit in.
SHORTEST_SIDE_PX = 240


def annotate_clip(
    analysis: Analysis,
    paths: Mapping[str, BoxPath],
    clip: Path,
    target: Path,
    *,
    show_strangers: bool = False,
    on_progress: Callable[[float, float], None] | None = None,
) -> None:
    """Write the video, frame by frame, in bounded memory at any length.

    The picture keeps its size up to LONGEST_SIDE_PX; the time runs in a bar below it, where it hides
    nothing. Plates are laid so that none covers a head; where there is no such place there is no plate.

    Args:
        analysis: Who and what to draw.
        paths: Boxes by track id, in pixels of `analysis.video`.
        clip: The file that was analysed.
        target: Where the MP4 goes.
        show_strangers: Leave people who are not named as they are, instead of hiding them.
        on_progress: Told seconds done and seconds in all, after every frame.

    Raises:
        BadInput: The clip can no longer be read.
    """
    video = analysis.video
    bar_px = bar_height_px(video.width_px, video.height_px)
    longest_px = LONGEST_SIDE_PX - (bar_px if video.height_px > video.width_px else 0)
    with decode(
        clip,
        from_seconds=video.start_seconds,
        to_seconds=video.end_seconds,
        at_rate_hz=RATE_HZ,
        longest_side_px=longest_px,
    ) as frames:
        annotator = Annotator(analysis, paths, show_strangers=show_strangers)
        annotated = _annotated(annotator, frames, video.end_seconds - video.start_seconds, on_progress)
        # Encoding is most of what a report costs, and people wait for it.
        write_mp4(annotated, target, preset="ultrafast")


def _annotated(
    annotator: "Annotator",
    frames: Iterable[Frame],
    duration_seconds: float,
    on_progress: Callable[[float, float], None] | None,
) -> Iterator[Frame]:
    first_seconds: float | None = None
    for frame in frames:
        if first_seconds is None:
            first_seconds = frame.pts_seconds
        shown_seconds = frame.pts_seconds - first_seconds
        yield Frame(annotator.draw(frame), shown_seconds)
        if on_progress is not None:
            on_progress(min(shown_seconds, duration_seconds), duration_seconds)


def bar_height_px(width_px: int, height_px: int) -> int:
    """Height of the bar below the picture: even, and high enough for the clock."""
    return 2 * max(14, round(0.03 * min(width_px, height_px, LONGEST_SIDE_PX)))


@dataclass(frozen=True, slots=True)
class _Seen:
    """Somebody in one picture, in its pixels."""

    track_id: str
    box: Rectangle


class Annotator:
    """Draws on frames; remembers where each plate lay, so that it does not jump about."""

    def __init__(self, analysis: Analysis, paths: Mapping[str, BoxPath], *, show_strangers: bool = False) -> None:
        """Prepare to draw `analysis`; `paths` are in pixels of its video."""
        self._analysis = analysis
        self._paths = paths
        self._show_strangers = show_strangers
        self._person_of = index_by_track(gather_people(analysis))
        self._events: dict[str, list[Event]] = {}
        for event in sorted(analysis.events, key=lambda event: event.start_seconds):
            self._events.setdefault(event.track_id, []).append(event)
        self._side_of: dict[str, int] = {}
        self._bars: tuple[Picture, Picture] | None = None

    def draw(self, frame: Frame) -> Picture:
        """The frame with everyone in it named, above the bar with the time.

        Returns:
            RGB, uint8, higher than the frame by the bar (and enlarged where the frame is tiny).
        """
        enlarge = max(1, -(-SHORTEST_SIDE_PX // min(frame.width_px, frame.height_px)))
        picture = frame.rgb if enlarge == 1 else frame.rgb.repeat(enlarge, axis=0).repeat(enlarge, axis=1)
        height_px, width_px = picture.shape[:2]
        bar_px = bar_height_px(width_px, height_px)
        canvas = np.empty((height_px + bar_px, width_px, 3), dtype=np.uint8)
        canvas[:height_px] = picture
        scene = canvas[:height_px]
        if not self._show_strangers:
            self._hide_strangers(scene, frame.pts_seconds)
        seen = self._people_at(frame.pts_seconds, width_px, height_px)
        thickness_px = max(2, round(min(width_px, height_px) / 240))
        for somebody in seen:
            person = self._person_of[somebody.track_id]
            _draw_box(scene, somebody.box, rgb_of(person.colour), thickness_px, dashed=person.decision == "abstained")
        self._lay_plates(scene, seen, frame.pts_seconds)
        self._draw_bar(canvas[height_px:], frame.pts_seconds)
        return canvas

    def _hide_strangers(self, scene: Picture, seconds: float) -> None:
        scale = self._scale_to(scene.shape[1], scene.shape[0])
        for track_id, path in self._paths.items():
            box = None if self._person_of[track_id].recognised else path.cover(seconds)
            if box is not None:
                left, top, right, bottom = (box * scale).tolist()
                hide_person(scene, (left, top, right, bottom))

    def _scale_to(self, width_px: int, height_px: int) -> NDArray[np.float64]:
        video = self._analysis.video
        return np.array([width_px / video.width_px, height_px / video.height_px] * 2)

    def _people_at(self, seconds: float, width_px: int, height_px: int) -> list[_Seen]:
        scale = self._scale_to(width_px, height_px)
        seen = []
        for report in self._analysis.tracks:
            track = report.track
            if not track.start_seconds <= seconds <= track.end_seconds:
                continue
            in_view, values = self._paths[track.track_id].interpolate(np.array([seconds]))
            if in_view[0]:
                left, top, right, bottom = (values[0, :4] * scale).tolist()
                box = (max(left, 0), max(top, 0), min(right, width_px), min(bottom, height_px))
                if box[2] - box[0] >= 1 and box[3] - box[1] >= 1:
                    seen.append(_Seen(track.track_id, box))
        return seen

    def _action_at(self, track_id: str, seconds: float) -> Event | None:
        events = self._events.get(track_id, [])
        until = bisect_right(events, seconds, key=lambda event: event.start_seconds)
        current = [event for event in events[max(0, until - 8) : until] if seconds < event.end_seconds]
        return max(current, key=lambda event: event.action.probability, default=None)

    def _lay_plates(self, scene: Picture, seen: list[_Seen], seconds: float) -> None:
        height_px, width_px = scene.shape[:2]
        heads = [head_of(somebody.box) for somebody in seen]
        laid: list[Rectangle] = []
        # Recognised people first: where there is room for one plate, it names somebody.
        for somebody in sorted(seen, key=lambda each: not self._person_of[each.track_id].recognised):
            person = self._person_of[somebody.track_id]
            picture = draw_plate(self._plate_of(person, somebody.track_id, seconds, width_px, height_px))
            places = places_of(somebody.box, picture.shape[1], picture.shape[0], width_px, height_px)
            free = [
                side
                for side, place in enumerate(places)
                if place is not None and not any(overlap(place, other) for other in (*heads, *laid))
            ]
            if not free:
                self._side_of.pop(somebody.track_id, None)
                continue
            before = self._side_of.get(somebody.track_id)
            side = before if before in free else free[0]
            self._side_of[somebody.track_id] = side
            place = places[side]
            if place is not None:
                left, top = round(place[0]), round(place[1])
                scene[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
                laid.append(place)

    def _plate_of(self, person: Person, track_id: str, seconds: float, width_px: int, height_px: int) -> Plate:
        event = self._action_at(track_id, seconds)
        lines = [person.name]
        if event is not None:
            lines.append(f"{event.action.name.replace('_', ' ')} {event.action.probability:.0%}")
        text_px = max(9, round(min(width_px, height_px) / 30))
        return Plate(tuple(lines), person.colour, text_px, longest_px=round(width_px * 0.28))

    def _draw_bar(self, bar: Picture, seconds: float) -> None:
        video = self._analysis.video
        height_px, width_px = bar.shape[:2]
        line_px = max(2, height_px // 10)
        if self._bars is None:
            self._bars = _plain_bars(height_px, width_px, line_px)
        ahead, behind = self._bars
        done = (seconds - video.start_seconds) / max(video.end_seconds - video.start_seconds, 1e-9)
        split = round(width_px * min(max(done, 0), 1))
        bar[:] = ahead
        bar[:, :split] = behind[:, :split]
        text_px = max(9, round(height_px * 0.46))
        clock = f"{format_clock(seconds)} / {format_clock(video.end_seconds)}"
        _paste_in_bar(bar, clock, line_px, text_px, right=False)
        if self._analysis.failures:
            failed = " and ".join(sorted(self._analysis.failures))
            _paste_in_bar(bar, f"partial: {failed} failed", line_px, text_px, right=True)


def _plain_bars(height_px: int, width_px: int, line_px: int) -> tuple[Picture, Picture]:
    """The bar without words, before and behind the present: painted once, as painting is slower than copying."""
    bars = []
    for line_colour in ("#3a404b", "#56B4E9"):
        bar = np.full((height_px, width_px, 3), rgb_of(BACKGROUND), dtype=np.uint8)
        bar[:line_px] = rgb_of(line_colour)
        bars.append(bar)
    return bars[0], bars[1]


def places_of(
    box: Rectangle, plate_width_px: int, plate_height_px: int, width_px: int, height_px: int
) -> list[Rectangle | None]:
    """Where a plate could lie, best first: above the box, below, right, left, at its feet; None is outside."""
    left, top, right, bottom = box
    along = min(max(left, 0), width_px - plate_width_px)
    beside = min(max(top, 0), height_px - plate_height_px)
    corners = (
        (along, top - plate_height_px),
        (along, bottom),
        (right, beside),
        (left - plate_width_px, beside),
        (along, bottom - plate_height_px),
    )
    return [
        (x, y, x + plate_width_px, y + plate_height_px)
        if 0 <= x <= width_px - plate_width_px and 0 <= y <= height_px - plate_height_px
        else None
        for x, y in corners
    ]


def overlap(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles share any area."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _draw_box(scene: Picture, box: Rectangle, rgb: tuple[int, ...], thickness_px: int, *, dashed: bool) -> None:
    """Outline a box in colour, with a dark line around it that keeps it visible on any background."""
    left, top, right, bottom = (round(side) for side in box)
    for inset, width, colour in ((0, thickness_px + 2, rgb_of(BACKGROUND)), (1, thickness_px, rgb)):
        x1, y1, x2, y2 = left + inset, top + inset, right - inset, bottom - inset
        edges = (
            scene[y1 : y1 + width, x1:x2],
            scene[max(y2 - width, y1) : y2, x1:x2],
            scene[y1:y2, x1 : x1 + width],
            scene[y1:y2, max(x2 - width, x1) : x2],
        )
        for edge in edges:
            along = 1 if edge.shape[1] > edge.shape[0] else 0
            _paint(edge, colour, along, dash_px=6 * thickness_px if dashed and inset else None)


def _paint(edge: Picture, colour: tuple[int, ...], along: int, dash_px: int | None) -> None:
    if dash_px is None:
        edge[:] = colour
        return
    on: NDArray[np.bool_] = np.arange(edge.shape[along]) // dash_px % 2 == 0
    if along:
        edge[:, on] = colour
    else:
        edge[on] = colour


def _paste_in_bar(bar: Picture, text: str, line_px: int, text_px: int, *, right: bool) -> None:
    height_px, width_px = bar.shape[:2]
    picture = draw_plate(Plate((text,), None, text_px, longest_px=width_px // 2))
    picture = picture[: height_px - line_px, :width_px]
    left = width_px - picture.shape[1] if right else 0
    top = line_px + (height_px - line_px - picture.shape[0]) // 2
    bar[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
