"""A strip of time for each person: when they were in view, and what they did then."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.contracts.events import Analysis, Event
from services.contracts.tracks import TrackSummary
from services.reports.people import Person
from services.reports.timecode import format_clock, format_span

# Okabe & Ito's colours again; past the seventh action they return with stripes.
ACTION_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
DARK_TEXT_ON = frozenset({"#E69F00", "#CC79A7", "#56B4E9", "#F0E442"})
STEPS_SECONDS = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
MOST_TICKS = 10
# A strip is about this wide on a desk; only used to leave out words that would be cut.
STRIP_PX = 760
LETTER_PX = 7.5
# A wave in an hour is still seen.
LEAST_PERCENT = 0.3


@dataclass(frozen=True, slots=True)
class ActionStyle:
    """How one action is painted, everywhere in the page."""

    action: str
    colour: str
    text_colour: str
    striped: bool


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of time, as shares (percent) of the strip."""

    left_percent: float
    width_percent: float
    hover: str
    style: ActionStyle | None = None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """Tracks that never overlap share one strip."""

    presence: tuple[Bar, ...]
    actions: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on the seconds axis."""

    left_percent: float
    caption: str


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of the clip that was analysed."""

    start_seconds: float
    end_seconds: float

    def bar(self, start_seconds: float, end_seconds: float, hover: str) -> Bar:
        """Place a stretch on the strip, cut to it; hovering says what it is, and when."""
        left = self.percent(start_seconds)
        width = round(self.percent(end_seconds) - left, 4)
        return Bar(left, width, f"{hover}, {format_span(start_seconds, end_seconds)}")

    def percent(self, seconds: float) -> float:
        """Place an instant on the strip, 0 to 100."""
        length = max(self.end_seconds - self.start_seconds, 1e-9)
        return round(100 * min(max((seconds - self.start_seconds) / length, 0.0), 1.0), 4)


def style_actions(analysis: Analysis) -> dict[str, ActionStyle]:
    """Give every action that occurs a colour, in order of name so that pages agree more often."""
    styles = {}
    for index, action in enumerate(sorted({event.action.name for event in analysis.events})):
        colour = ACTION_COLOURS[index % len(ACTION_COLOURS)]
        text_colour = "#14161a" if colour in DARK_TEXT_ON else "#ffffff"
        styles[action] = ActionStyle(action, colour, text_colour, index >= len(ACTION_COLOURS))
    return styles


def mark_axis(span: Span) -> tuple[Tick, ...]:
    """Round marks on the seconds axis, ten at the most."""
    length = span.end_seconds - span.start_seconds
    step = next((step for step in STEPS_SECONDS if length / step <= MOST_TICKS), 3600 * math.ceil(length / 36000))
    decimals = 1 if step < 1 else 0
    first = math.ceil(span.start_seconds / step)
    last = math.floor(span.end_seconds / step + 1e-9)
    return tuple(
        Tick(span.percent(index * step), format_clock(index * step, decimals=decimals))
        for index in range(first, last + 1)
    )


def lay_lanes(person: Person, events: Sequence[Event], span: Span, styles: dict[str, ActionStyle]) -> tuple[Lane, ...]:
    """Place one person's tracks on as few strips as hold them without overlap."""
    lanes: list[list[TrackSummary]] = []
    for report in person.tracks:
        free = (lane for lane in lanes if lane[-1].end_seconds <= report.track.start_seconds)
        lane = next(free, None)
        if lane is None:
            lanes.append([report.track])
        else:
            lane.append(report.track)
    laid = []
    for tracks in lanes:
        track_ids = {track.track_id for track in tracks}
        presence = tuple(span.bar(track.start_seconds, track.end_seconds, "in view") for track in tracks)
        actions = tuple(
            _action_bar(event, span, styles[event.action.name]) for event in events if event.track_id in track_ids
        )
        laid.append(Lane(presence, actions))
    return tuple(laid)


def _action_bar(event: Event, span: Span, style: ActionStyle) -> Bar:
    action = event.action.name.replace("_", " ")
    bar = span.bar(event.start_seconds, event.end_seconds, f"{action}, probability {event.action.probability:.0%}")
    fits = bar.width_percent / 100 * STRIP_PX >= LETTER_PX * len(action) + 12
    return replace(
        bar, width_percent=max(bar.width_percent, LEAST_PERCENT), style=style, caption=action if fits else ""
    )
