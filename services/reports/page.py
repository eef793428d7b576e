"""report.html: the analysis of one clip on one page that needs nothing but itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from services.contracts.clip import ModelRef
from services.contracts.events import Analysis
from services.contracts.identity import Identity
from services.reports.people import Person, gather_people, index_by_track
from services.reports.portrait import encode_portrait
from services.reports.sentences import count_of, deeds_of, title_of
from services.reports.timecode import format_clock, format_span
from services.reports.timeline import Lane, Span, lay_lanes, mark_axis, style_actions

# Beyond this a browser and a reader both give up; the files beside the page hold every event.
MOST_ROWS = 500
DIGEST_LETTERS = 12


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A track's best face.

    Attributes:
        chip: RGB, uint8, (H, W, 3).
        quality: 0 to 1, to choose between the tracks of one person.
    """

    chip: NDArray[np.uint8]
    quality: float


@dataclass(frozen=True, slots=True)
class PersonView:
    """One person as the page shows them."""

    person: Person
    portrait: str | None
    deeds: str
    lanes: tuple[Lane, ...]


@dataclass(frozen=True, slots=True)
class ModelView:
    """One row of the provenance table."""

    step: str
    model: ModelRef | None


def render_page(analysis: Analysis, faces: Mapping[str, Face], clip_name: str, *, show_strangers: bool = False) -> str:
    """Write the page.

    Args:
        analysis: What to show.
        faces: Best face by track id; tracks without one are left out.
        clip_name: The clip's file name, as its owner knows it.
        show_strangers: Show the faces of people who are not named, too.

    Returns:
        A whole HTML document: no scripts, nothing fetched; the same arguments give the same text.
    """
    environment = Environment(
        loader=PackageLoader("services.reports", ""),
        autoescape=True,  # subject ids and file names are whatever somebody typed
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(short=lambda digest: digest[:DIGEST_LETTERS], plain=lambda name: name.replace("_", " "))
    video = analysis.video
    span = Span(video.start_seconds, video.end_seconds)
    styles = style_actions(analysis)
    people = gather_people(analysis)
    person_of = index_by_track(people)
    return environment.get_template("page.html").render(
        analysis=analysis,
        clip_name=clip_name,
        title=title_of(people),
        summary=_summarise(people, analysis),
        show_strangers=show_strangers,
        people=[
            PersonView(
                person=person,
                portrait=_portrait_of(person, faces, show_strangers),
                deeds=deeds_of(person, analysis, person_of),
                lanes=lay_lanes(person, analysis.events, span, styles),
            )
            for person in people
        ],
        person_of=person_of,
        styles=styles,
        ticks=mark_axis(span),
        explain=explain_identity,
        span_text=format_span,
        events=analysis.events[:MOST_ROWS],
        models=_list_models(analysis),
        seconds=video.end_seconds - video.start_seconds,
    )


def explain_identity(identity: Identity) -> str:
    """Why a track is, or is not, given a name."""
    if identity.decision == "abstained":
        return f"Not named because {identity.reason}."
    if identity.similarity is None or identity.threshold is None:
        return "Compared with nobody: the gallery holds no one." if identity.decision == "unknown" else "Matched."
    relation = "reaches" if identity.decision == "match" else "stays below"
    start = "Similarity" if identity.decision == "match" else "Nobody enrolled is close enough: similarity"
    return f"{start} {identity.similarity:.2f} {relation} the threshold {identity.threshold:.2f}."


def _summarise(people: Sequence[Person], analysis: Analysis) -> str:
    video = analysis.video
    length = format_clock(video.end_seconds - video.start_seconds)
    recognised = sum(person.recognised for person in people)
    told = [f"{count_of(recognised, 'person', 'people')} recognised"]
    if others := len(people) - recognised:
        # One person may leave and return as another track: how many people they are, nobody knows.
        told.append(count_of(others, "other track"))
    return ", ".join([*told, count_of(len(analysis.events), "event"), f"{length} of video"])


def _portrait_of(person: Person, faces: Mapping[str, Face], show_strangers: bool) -> str | None:
    seen = [faces[report.track.track_id] for report in person.tracks if report.track.track_id in faces]
    if not seen:
        return None
    return encode_portrait(max(seen, key=lambda face: face.quality).chip, clear=person.recognised or show_strangers)


def _list_models(analysis: Analysis) -> list[ModelView]:
    said_by = analysis.provenance
    steps = {"tracks": said_by.tracks, "identity": said_by.identity, "action": said_by.action}
    return [ModelView(step, model) for step, models in steps.items() for model in (models or (None,))]
