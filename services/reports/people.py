"""Who the tracks of an analysis are, as a reader meets them: one name and one colour a person."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.contracts.events import Analysis, TrackReport
from services.contracts.identity import Decision

# Told apart under the common colour vision deficiencies. Source: Okabe & Ito 2008, "Color Universal
# Design"; black is left out because boxes are outlined in it.
RECOGNISED_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
UNRECOGNISED_COLOURS: dict[Decision, str] = {"unknown": "#C3C7CF", "abstained": "#9AA0AB"}
UNRECOGNISED_NAMES: dict[Decision, str] = {"unknown": "unknown", "abstained": "not sure"}


@dataclass(frozen=True, slots=True)
class Person:
    """All tracks of one recognised subject, or one track of somebody who was not recognised.

    Attributes:
        name: The subject id, or "unknown" / "not sure", numbered where there are several.
        decision: Why they are called so.
        colour: "#RRGGBB", the same in the page and in the video.
        tracks: In order of appearance; several only for a match.
    """

    name: str
    decision: Decision
    colour: str
    tracks: tuple[TrackReport, ...]

    @property
    def recognised(self) -> bool:
        """Only a match names anyone."""
        return self.decision == "match"


def gather_people(analysis: Analysis) -> tuple[Person, ...]:
    """Group the tracks by person: recognised subjects first, each part in order of appearance."""
    tracks = sorted(analysis.tracks, key=lambda report: (report.track.start_seconds, report.track.track_id))
    matched: dict[str, list[TrackReport]] = {}
    for report in tracks:
        if report.identity.subject_id is not None:
            matched.setdefault(report.identity.subject_id, []).append(report)
    people = [
        Person(subject_id, "match", RECOGNISED_COLOURS[index % len(RECOGNISED_COLOURS)], tuple(reports))
        for index, (subject_id, reports) in enumerate(matched.items())
    ]
    decisions: tuple[Decision, ...] = ("unknown", "abstained")
    for decision in decisions:
        alone = [report for report in tracks if report.identity.decision == decision]
        for ordinal, report in enumerate(alone, start=1):
            name = UNRECOGNISED_NAMES[decision]
            numbered = f"{name} {ordinal}" if len(alone) > 1 else name
            people.append(Person(numbered, decision, UNRECOGNISED_COLOURS[decision], (report,)))
    return tuple(people)


def index_by_track(people: Iterable[Person]) -> dict[str, Person]:
    """Find a person by the id of any of their tracks."""
    return {report.track.track_id: person for person in people for report in person.tracks}
